"""Settings as TOML, and by dotted name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crossan.common.config.base import Settings
from crossan.common.config.groups import Group, group_of

__all__ = ["dotted", "plain", "to_toml", "toml_value"]


def to_toml(settings: Settings) -> str:
    """Write settings as TOML that `load_settings` reads back to the same object.

    A group's kind is written first. None is left out, as TOML has no such value.
    """
    import tomlkit

    return tomlkit.dumps(_for_reading(plain(settings), settings))


def toml_value(value: object) -> str:
    """Write one value as TOML, on one line.

    Raises
    ------
    TypeError
        TOML has no such value.
    """
    import tomlkit

    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        table.update({key: _lists(entry) for key, entry in value.items()})
        return table.as_string()
    return tomlkit.item(_lists(value)).as_string()


def plain(settings: Settings) -> dict[str, Any]:
    """Return settings as nested groups of what JSON has."""
    return settings.model_dump(mode="json", serialize_as_any=True)


def dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested groups under its dotted name."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _for_reading(
    values: Mapping[str, Any], settings: Settings | None, group: Group | None = None
) -> dict[str, Any]:
    """Return values in the order people read them.

    The kind comes first, then other values, then groups. TOML wants groups
    behind values in any case: what follows a ``[group]`` line is in that group.
    """
    fields = {} if settings is None else type(settings).model_fields
    kind = None if group is None else group.by
    order = sorted(values, key=lambda name: (isinstance(values[name], Mapping), name != kind))
    written: dict[str, Any] = {}
    for name in order:
        value = values[name]
        if isinstance(value, Mapping):
            inner = getattr(settings, name) if name in fields else None
            inner_settings = inner if isinstance(inner, Settings) else None
            inner_group = group_of(fields[name]) if inner_settings is not None else None
            written[name] = _for_reading(value, inner_settings, inner_group)
        elif value is not None:
            written[name] = _without_none(value)
    return written


def _without_none(value: object) -> object:
    """Return a value without the entries of its groups that are None, for which TOML has no word."""
    if isinstance(value, Mapping):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list) else value


def _lists(value: object) -> object:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_lists(entry) for entry in value]
    return value
