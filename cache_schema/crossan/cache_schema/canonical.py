"""One spelling of a JSON value as bytes, so that a digest of it means something."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any, NoReturn, TypeVar

from crossan.cache_schema.errors import StoreIntegrityError

__all__ = [
    "LARGEST_FILE",
    "SCHEMA_VERSION",
    "canonical_bytes",
    "digest_of",
    "field_of",
    "parse_json",
    "parse_object",
    "pretty_bytes",
    "sha256_hex",
]

SCHEMA_VERSION = 1
"""Version of everything this package describes; a reader refuses a higher one."""

LARGEST_FILE = 64 * 2**20
"""Bytes of JSON that a reader takes.

A parsed value takes about ten times the memory of its text.
"""

_LONE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""What a text has that spells a surrogate; two of them may be a pair, which is one character."""

_MOST_LEVELS = 64
"""Of lists and objects inside each other; whatever writes or compares a value recurses."""

Expected = TypeVar("Expected")


def canonical_bytes(value: object) -> bytes:
    """Return the canonical JSON of ``value`` as UTF-8.

    Keys sorted by code point, no white space, non-ASCII characters as they
    are, numbers as Python writes them (``0`` and ``0.0`` differ; floats are
    the shortest text that reads back equal).

    Raises
    ------
    ValueError
        For NaN and infinities, which JSON does not have.
    TypeError
        For a value or key that JSON does not have.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def pretty_bytes(value: object) -> bytes:
    """Return ``value`` as the indented JSON that our files hold.

    Keys are sorted, two spaces indent a level, and a line feed ends the file.
    """
    return (
        json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: object) -> str:
    """Return the SHA-256 of the canonical JSON of ``value``."""
    return sha256_hex(canonical_bytes(value))


def parse_json(data: bytes) -> Any:  # noqa: ANN401 - a JSON value is any of JSON's types
    """Read one JSON value and refuse what JSON leaves open, or no reader should take.

    That is repeated keys, NaN and infinities, numbers beyond the range of a
    float or of thousands of digits, lone surrogates, other encodings than UTF-8,
    values nested so deeply that reading them takes the whole stack, and more than
    `LARGEST_FILE` bytes.

    Raises
    ------
    ValueError
        It is one of these. The message says what, and not where.
    """
    if len(data) > LARGEST_FILE:
        raise ValueError(f"expected at most {LARGEST_FILE:,} bytes, found {len(data):,}")
    try:
        # Plain json.loads keeps the last of two equal keys and accepts NaN. Two readers could then
        # disagree on one file that has one digest.
        value = json.loads(
            data.decode(),
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError as error:
        raise ValueError(f"values are nested too deeply: {error}") from error
    if _LONE_SURROGATE.search(data):
        # Such a text can be neither written nor printed.
        json.dumps(value, ensure_ascii=False).encode()
    # Most files have fewer brackets than that, and then no walk is needed.
    if data.count(b"[") + data.count(b"{") > _MOST_LEVELS and _levels(value) > _MOST_LEVELS:
        raise ValueError(f"values are nested in more than {_MOST_LEVELS} levels")
    return value


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """Read one JSON object as `parse_json` reads it.

    Parameters
    ----------
    data
        The whole file.
    where
        Its name, for the message.

    Raises
    ------
    StoreIntegrityError
        The bytes are not one such object.
    """
    try:
        value = parse_json(data)
    except ValueError as error:
        raise StoreIntegrityError(
            f"{where}: expected one JSON object, found {_summary(data)}: {error}"
        ) from error
    if not isinstance(value, dict):
        raise StoreIntegrityError(
            f"{where}: expected one JSON object, found {type(value).__name__}"
        )
    return value


def field_of(value: dict[str, Any], key: str, kind: type[Expected], where: str) -> Expected:
    """Return ``value[key]`` after checking that it is a ``kind``.

    A bool does not count as an int.

    Raises
    ------
    StoreIntegrityError
        The key is missing or holds something else.
    """
    content = value.get(key)
    # JSON's true would pass for 1, because Python's bool is a subclass of int.
    if not isinstance(content, kind) or (isinstance(content, bool) and kind is int):
        shown = f"{content!r:.60}" if key in value else "no such key"
        raise StoreIntegrityError(
            f"{where}: expected {key!r} to hold {kind.__name__}, found {shown}"
        )
    return content


def _levels(value: object) -> int:
    """Return in how many lists and objects the innermost value lies.

    Counting stops one level above the most that is allowed.
    """
    count, layer = 0, [value]
    while layer and count <= _MOST_LEVELS:
        inner: list[object] = []
        for one in layer:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        layer = [one for one in inner if isinstance(one, dict | list)]
        count += 1
    return count


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # A repeated key makes the dict shorter than the list of pairs it was built from.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is repeated")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text:.20} is beyond the range of a float")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _summary(data: bytes) -> str:
    return "an empty file" if not data else f"{len(data):,} bytes starting {data[:20]!r}"
