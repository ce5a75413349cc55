"""Every setting that a class has, by its dotted name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from crossan.common.config.base import Settings
from crossan.common.config.groups import group_of

__all__ = ["Setting", "settings_in"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of one kind."""

    name: str
    """Dotted name, as ``--set`` takes it."""

    field: FieldInfo

    owner: type[Settings]
    """The class of the group it is in."""

    kinds: tuple[tuple[str, str], ...]
    """The kinds under which it is there: the setting that chooses, and the kind."""


def settings_in(settings_class: type[Settings]) -> Iterator[Setting]:
    """Yield every setting of a class and of all kinds of its groups, values before groups."""
    yield from _settings_in(settings_class, "", ())


def _settings_in(
    settings_class: type[Settings], prefix: str, kinds: tuple[tuple[str, str], ...]
) -> Iterator[Setting]:
    groups = []
    for name, field in settings_class.model_fields.items():
        group = group_of(field)
        if group is None:
            yield Setting(f"{prefix}{name}", field, settings_class, kinds)
        else:
            groups.append((name, group))
    for name, group in groups:
        for kind, inner in group.classes.items():
            chosen = () if group.by is None else ((f"{prefix}{name}.{group.by}", kind),)
            yield from _settings_in(inner, f"{prefix}{name}.", (*kinds, *chosen))
