"""How much a source of settings may hold, so that no file takes hours or the whole stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossan.cache_schema.errors import ConfigError

__all__ = ["LARGEST_TOML", "require_bounded"]

LARGEST_TOML = 2**20
"""Bytes of a TOML file."""

_DEEPEST = 32
_MOST_ENTRIES = 10_000
_LONGEST_NAME = 200


def require_bounded(tree: Mapping[str, Any], label: str) -> None:
    """Refuse a source that is nested deeply, has very many values, or texts that are none.

    Parameters
    ----------
    tree
        Its values, nested by group.
    label
        How errors name the source.

    Raises
    ------
    ConfigError
        It goes beyond a bound.
    """
    entries = 0
    # Not by recursion, which is what a deep tree would use up.
    left: list[tuple[object, int]] = [(tree, 0)]
    while left:
        value, depth = left.pop()
        if isinstance(value, Mapping):
            inner = [*value.keys(), *value.values()]
            if any(len(name) > _LONGEST_NAME for name in value):
                raise ConfigError(f"{label}: a name has more than {_LONGEST_NAME} characters")
        elif isinstance(value, list | tuple):
            inner = list(value)
        else:
            _require_text(value, label)
            continue
        entries += len(inner)
        if depth == _DEEPEST or entries > _MOST_ENTRIES:
            raise ConfigError(
                f"{label}: expected at most {_MOST_ENTRIES:,} values, nested at most {_DEEPEST}"
                " groups deep, found more"
            )
        left += [(one, depth + 1) for one in inner]


def _require_text(value: object, label: str) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            # As Python spells the bytes of an argument that is not UTF-8.
            raise ConfigError(f"{label}: expected UTF-8, found bytes that are not") from None
