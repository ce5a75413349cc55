"""What a source says of no more than the kind that it was written for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import to_jsonable_python

from crossan.common.config.base import Settings
from crossan.common.config.kinds import Chosen
from crossan.common.config.upgrading import Source

__all__ = ["kind_before", "says_nothing", "without_leftovers"]


def without_leftovers(
    settings_class: type[Settings], sources: Sequence[Source], chosen: Mapping[str, Chosen]
) -> list[Source]:
    """Return the sources without the defaults of a kind where another was chosen since.

    A recorded file holds every setting. Those that have its kind's defaults are nobody's
    choice, and the kind that a higher source chooses in its stead has its own.

    Parameters
    ----------
    settings_class
        The outermost settings class, which knows what a kind sets
        (`Settings.defaults_of_kind`).
    sources
        All sources, the lowest first.
    chosen
        The kind of every group.
    """
    return [
        replace(source, tree=_pruned(settings_class, source, sources, chosen)) for source in sources
    ]


def kind_before(path: str, source: Source, sources: Sequence[Source], now: Chosen) -> object:
    """Return the kind that a group had when a source was written, None where it has it still.

    It is the source's own, or that of the sources below it.

    Parameters
    ----------
    path
        Dotted name of the group within the trees of the sources.
    source, sources
        The source in question, and all of them, the lowest first.
    now
        The kind that the group has.
    """
    if now.chosen_by is None or now.chosen_by.rank <= source.rank or now.group.by is None:
        return None
    lower = [_inside(other.tree, path) for other in sources if other.rank <= source.rank]
    given = (tree[now.group.by] for tree in reversed(lower) if now.group.by in tree)
    return next(given, now.group.default_kind())


def says_nothing(value: object, default: object) -> bool:
    """Whether a value is the default as JSON has it, a group where all that it names is."""
    if isinstance(value, Mapping) and isinstance(default, Mapping):
        return all(key in default and says_nothing(value[key], default[key]) for key in value)
    return bool(to_jsonable_python(value, fallback=str) == default)


def _pruned(
    settings_class: type[Settings],
    source: Source,
    sources: Sequence[Source],
    chosen: Mapping[str, Chosen],
) -> dict[str, Any]:
    tree = dict(source.tree)
    for path, now in chosen.items():
        before = kind_before(path, source, sources, now)
        if not path or not isinstance(before, str) or before == now.kind:
            continue
        for name, default in _defaults_before(settings_class, path, before, now):
            tree = _without(tree, name.split("."), to_jsonable_python(default, fallback=str))
    return tree


def _defaults_before(
    settings_class: type[Settings], path: str, before: str, now: Chosen
) -> Iterator[tuple[str, object]]:
    """Yield what the kind before had where nobody named it, of all that a kind can set."""
    of_before = settings_class.defaults_of_kind(path, before)
    for name in {**of_before, **settings_class.defaults_of_kind(path, now.kind)}:
        yield name, of_before[name] if name in of_before else _default(settings_class, name)
    for name, field in now.group.classes[before].model_fields.items():
        if name != now.group.by and name in now.settings_class.model_fields:
            yield f"{path}.{name}", field.get_default(call_default_factory=True)


def _default(settings_class: type[Settings], name: str) -> object:
    first, *rest = name.split(".")
    default = settings_class.model_fields[first].get_default(call_default_factory=True)
    for key in rest:
        default = getattr(default, key)
    return default


def _without(tree: dict[str, Any], path: Sequence[str], default: object) -> dict[str, Any]:
    first, *rest = path
    if first not in tree:
        return tree
    if not rest:
        is_left = says_nothing(tree[first], default)
        return {key: value for key, value in tree.items() if key != first or not is_left}
    inner = tree[first]
    return {**tree, first: _without(inner, rest, default)} if isinstance(inner, dict) else tree


def _inside(tree: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    for key in filter(None, path.split(".")):
        inner = tree.get(key)
        if not isinstance(inner, Mapping):
            return {}
        tree = inner
    return tree
