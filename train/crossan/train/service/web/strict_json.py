"""JSON as its standard has it, and no more of it than a spec can need."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from crossan.cache_schema.errors import ConfigError

__all__ = ["require_strict_json"]

_DEEPEST = 32
_MOST_DIGITS = 19
"""Of a whole number: those of 64 bits."""


def require_strict_json(body: bytes) -> None:
    """Refuse what Python's parser lets pass and others read differently, or not at all.

    That is NaN and infinities, a name twice in one object, bytes that are not UTF-8, halves of
    surrogate pairs, NUL, whole numbers beyond 64 bits, and nesting deeper than 32.

    Raises
    ------
    ConfigError
        It is not such JSON.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _wrong(f"bytes that are not UTF-8 at {error.start}") from None
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_int=_bounded_int,
            parse_float=_finite_float,
            object_pairs_hook=_unique_names,
        )
    except json.JSONDecodeError as error:
        raise _wrong(
            f"{error.msg[:1].lower()}{error.msg[1:]} in line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise _too_deep() from None
    _require_plain(value)


def _require_plain(value: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    # Not by recursion, which is what a deep value would use up.
    left: list[tuple[Any, int]] = [(value, 0)]
    while left:
        part, depth = left.pop()
        if isinstance(part, str):
            _require_text(part)
            continue
        if isinstance(part, dict):
            for name in part:
                _require_text(name)
        elif not isinstance(part, list):
            continue
        if depth == _DEEPEST:
            raise _too_deep()
        inner = part.values() if isinstance(part, dict) else part
        left += [(one, depth + 1) for one in inner]


def _require_text(text: str) -> None:
    if "\0" in text:
        raise _wrong("a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _wrong("half of a surrogate pair") from None


def _refuse_constant(name: str) -> NoReturn:
    raise _wrong(name)


def _bounded_int(digits: str) -> int:
    if len(digits.removeprefix("-")) > _MOST_DIGITS:
        raise _wrong("a whole number that takes more than 64 bits")
    return int(digits)


def _finite_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _wrong("a number beyond those of 64 bits")
    return value


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _wrong("a name twice in one object")
    return values


def _too_deep() -> ConfigError:
    return _wrong(f"values nested more than {_DEEPEST} deep")


def _wrong(what: str) -> ConfigError:
    return ConfigError(f"body: expected JSON, found {what}")
