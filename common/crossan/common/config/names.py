"""Names that no setting has, and names that only another kind has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from pydantic_core import to_jsonable_python

from crossan.cache_schema.errors import ConfigError
from crossan.common.config.base import Settings
from crossan.common.config.groups import Group, group_of
from crossan.common.config.kinds import Chosen, Problem, inside
from crossan.common.config.leftovers import kind_before, says_nothing
from crossan.common.config.nearest import did_you_mean
from crossan.common.config.upgrading import Source

__all__ = ["check_names"]


def check_names(chosen: Mapping[str, Chosen], sources: Sequence[Source]) -> list[Problem]:
    """Return every wrong name, and take what another kind left behind out of the sources.

    A written ``config.toml`` holds every setting of its kind. Where a later
    source chooses another kind, a name that only the old kind has says nothing
    if its value is the old kind's default: it is taken out. With any other
    value it is a choice that would be lost without a word: it is a problem.

    Parameters
    ----------
    chosen
        The kind of every group, as `choose_kinds` returns it.
    sources
        All sources, the lowest first. Their trees are changed.
    """
    return list(_check("", chosen, sources))


def _check(path: str, chosen: Mapping[str, Chosen], sources: Sequence[Source]) -> Iterator[Problem]:
    if path not in chosen:
        return
    fields = chosen[path].settings_class.model_fields
    for source in sources:
        for name, value in list(source.tree.items()):
            if name in fields:
                group = group_of(fields[name])
                if group is not None and not _fits(group, value):
                    yield Problem(source, _value_for_group(_join(path, name), group))
            elif _is_leftover(name, source, sources, chosen[path]):
                del source.tree[name]
            else:
                yield Problem(source, _unknown(name, path, source, chosen))
    for name in fields:
        yield from _check(_join(path, name), chosen, inside(sources, name))


def _fits(group: Group, value: object) -> bool:
    return isinstance(value, Mapping) or (value is None and group.may_be_none)


def _value_for_group(name: str, group: Group) -> str:
    first = group.by or next(iter(group.classes[""].model_fields))
    return f"'{name}' is a group of settings; name one of them, for example '{name}.{first}'"


def _is_leftover(name: str, source: Source, sources: Sequence[Source], now: Chosen) -> bool:
    """Whether a name says nothing, as a higher source chose another kind over its default."""
    kind = kind_before("", source, sources, now)
    settings_class = now.group.classes.get(kind) if isinstance(kind, str) else None
    if settings_class is None or name not in settings_class.model_fields:
        return False
    return says_nothing(source.tree[name], _default(settings_class, name))


def _default(settings_class: type[Settings], name: str) -> object:
    default = settings_class.model_fields[name].get_default(call_default_factory=True)
    return to_jsonable_python(default, fallback=str, serialize_as_any=True)


def _unknown(name: str, path: str, source: Source, chosen: Mapping[str, Chosen]) -> str:
    now, full = chosen[path], _join(path, name)
    owners = list(_owners(name, now.group))
    if not owners:
        known = [_join(path, key) for key in _known(path, chosen)]
        return f"unknown setting '{full}'{did_you_mean(full, known)}"
    if now.chosen_by is None:
        origin = f", the default of {path}.{now.group.by}"
    elif now.chosen_by.label == source.label:
        origin = ""
    else:
        origin = f", which {now.chosen_by.label} chooses"
    return f"'{full}' is a setting of {_listed(owners)}, not of {now.kind}{origin}"


def _owners(name: str, group: Group) -> Iterator[str]:
    """Yield the kinds that have a setting of this name."""
    for kind in group.classes:
        # A kind of another package that cannot be loaded is no reason to say less of this name.
        with contextlib.suppress(ConfigError):
            if name in group.classes[kind].model_fields:
                yield kind


def _known(path: str, chosen: Mapping[str, Chosen]) -> Iterator[str]:
    """Yield the dotted names of a group, those of groups inside it by the kind they have."""
    for name in chosen[path].settings_class.model_fields:
        inner = _join(path, name)
        if inner in chosen:
            yield from (f"{name}.{key}" for key in _known(inner, chosen))
        else:
            yield name


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
