"""One spelling of a JSON value as bytes, so that a digest of it means something."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NoReturn, TypeVar

from crossan.cache_schema.errors import StoreIntegrityError

__all__ = [
    "SCHEMA_VERSION",
    "canonical_bytes",
    "digest_of",
    "field_of",
    "parse_object",
    "pretty_bytes",
    "sha256_hex",
]

SCHEMA_VERSION = 1
"""Version of everything this package describes; a reader refuses a higher one."""

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


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """Read one JSON object and refuse what JSON leaves open.

    Repeated keys, NaN and infinities are refused.

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
        # Plain json.loads keeps the last of two equal keys and accepts NaN. Two readers could then
        # disagree on one file that has one digest.
        value = json.loads(
            data.decode(), object_pairs_hook=_without_repeats, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
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


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # A repeated key makes the dict shorter than the list of pairs it was built from.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is repeated")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _summary(data: bytes) -> str:
    return "an empty file" if not data else f"{len(data):,} bytes starting {data[:20]!r}"
