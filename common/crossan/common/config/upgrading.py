"""Sources of settings, and names of earlier versions in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from crossan.cache_schema.errors import ConfigError
from crossan.common.config.base import Settings

__all__ = ["Source", "upgraded"]

_Path = tuple[str, ...]
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Source:
    """What one file, one variable or one flag gives."""

    label: str
    """How errors name it: what the user typed or edited."""

    rank: int
    """Higher ranks win; all of the environment has one rank, and all of the command line."""

    tree: dict[str, Any]
    """Its values, nested by group."""


def upgraded(settings_class: type[Settings], sources: Sequence[Source]) -> list[Source]:
    """Return the sources of one rank with names of earlier versions replaced.

    `Settings.upgraded` sees them merged, as one new name may stand for several
    old ones that were given by a flag each. What it leaves as it was keeps its
    source; what it makes is said to come from those whose values it took.

    Raises
    ------
    ConfigError
        The old names contradict each other.
    """
    merged = _merged(sources)
    try:
        tree = settings_class.upgraded(deepcopy(merged))
    except ValueError as error:
        guilty = [source for source in sources if _is_needed(source, sources, settings_class)]
        raise ConfigError(f"{_joined(guilty or sources)}: {error}") from None
    if tree == merged:
        return list(sources)
    given, now = dict(_leaves(merged)), dict(_leaves(tree))
    replaced = {path for path, value in given.items() if now.get(path, _NOTHING) != value}
    made = {path: value for path, value in now.items() if given.get(path, _NOTHING) != value}
    origin = [one for one in sources if any(path in replaced for path, _ in _leaves(one.tree))]
    return [
        *(replace(source, tree=_without(source.tree, replaced)) for source in sources),
        Source(_joined(origin or sources), sources[0].rank, _nested(made)),
    ]


def _is_needed(source: Source, sources: Sequence[Source], settings_class: type[Settings]) -> bool:
    """Whether old names contradict each other only with this source among them."""
    others = [other for other in sources if other is not source]
    try:
        settings_class.upgraded(_merged(others))
    except ValueError:
        return False
    return True


def _joined(sources: Sequence[Source]) -> str:
    return " ".join(source.label for source in sources)


def _merged(sources: Sequence[Source]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for source in sources:
        _merge(tree, source.tree)
    return tree


def _merge(into: dict[str, Any], tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = deepcopy(value)


def _leaves(tree: Mapping[str, Any], path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Yield every value with the keys that lead to it, which may have dots in them."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _without(tree: Mapping[str, Any], replaced: set[_Path]) -> dict[str, Any]:
    return _nested({path: value for path, value in _leaves(tree) if path not in replaced})


def _nested(values: Mapping[_Path, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (*groups, last), value in values.items():
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    return tree
