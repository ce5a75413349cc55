"""Which kind each group of settings has, once all sources are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from crossan.common.config.base import Settings
from crossan.common.config.groups import Group, group_of, root_group
from crossan.common.config.nearest import nearest
from crossan.common.config.upgrading import Source

__all__ = ["Chosen", "Problem", "choose_kinds", "inside"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong that one source gives."""

    source: Source
    text: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """The kind that a group has."""

    group: Group
    kind: str
    chosen_by: Source | None
    """The source that gave the kind, None where it is the default."""

    @property
    def settings_class(self) -> type[Settings]:
        """Return the settings class of the kind."""
        return self.group.classes[self.kind]


def choose_kinds(
    settings_class: type[Settings], sources: Sequence[Source]
) -> tuple[dict[str, Chosen], list[Problem]]:
    """Return the kind of every group, by its dotted name, and what is wrong with kinds.

    The outermost group has the empty name. A group with a wrong kind is left
    out, and so are the groups inside it: nothing in them can be checked.

    Parameters
    ----------
    settings_class
        The outermost settings class.
    sources
        All sources, the lowest first.
    """
    chosen: dict[str, Chosen] = {}
    problems: list[Problem] = []
    _choose(root_group(settings_class), "", sources, chosen, problems)
    return chosen, problems


def inside(sources: Sequence[Source], name: str) -> list[Source]:
    """Return the sources that give anything in a group, each with the group's values only.

    Parameters
    ----------
    sources
        Sources whose values are nested from the same group.
    name
        The group's name in that group.
    """
    return [
        replace(source, tree=source.tree[name])
        for source in sources
        if isinstance(source.tree.get(name), dict)
    ]


def _choose(
    group: Group,
    path: str,
    sources: Sequence[Source],
    chosen: dict[str, Chosen],
    problems: list[Problem],
) -> None:
    kind, chosen_by = _winning_kind(group, sources)
    if not isinstance(kind, str) or kind not in group.classes:
        # An optional group that nobody mentions has no kind, and needs none.
        if sources:
            problems.append(_wrong_kind(group, path, kind, chosen_by or sources[-1]))
        return
    chosen[path] = Chosen(group, kind, chosen_by)
    for name, inner in _groups(group.classes[kind]):
        inner_path = f"{path}.{name}" if path else name
        _choose(inner, inner_path, inside(sources, name), chosen, problems)


def _winning_kind(group: Group, sources: Sequence[Source]) -> tuple[object, Source | None]:
    for source in reversed(sources):
        if group.by is not None and group.by in source.tree:
            return source.tree[group.by], source
    return group.default_kind(), None


def _wrong_kind(group: Group, path: str, kind: object, source: Source) -> Problem:
    known = list(group.classes)
    close = nearest(kind, known) if isinstance(kind, str) else None
    shown = "none" if kind is None else repr(kind)
    text = f"{path}.{group.by}: expected one of {', '.join(known)}, got {shown}"
    return Problem(source, f"{text}; did you mean '{close}'?" if close else text)


def _groups(settings_class: type[Settings]) -> Iterator[tuple[str, Group]]:
    for name, field in settings_class.model_fields.items():
        group = group_of(field)
        if group is not None:
            yield name, group
