"""From sources to one checked settings object."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from crossan.cache_schema.errors import ConfigError
from crossan.common.config.base import Settings
from crossan.common.config.kinds import Chosen, choose_kinds
from crossan.common.config.leftovers import without_leftovers
from crossan.common.config.names import check_names
from crossan.common.config.sources import Base, FlagValue, all_sources, nested
from crossan.common.config.upgrading import Source, upgraded
from crossan.common.config.writing import plain

__all__ = ["load_settings", "settings_with"]

_MOST_LINES = 20
"""Problems that one message names."""

SettingsT = TypeVar("SettingsT", bound=Settings)


def load_settings(
    settings_class: type[SettingsT],
    *,
    files: Sequence[Path] = (),
    flags: Sequence[FlagValue] = (),
    assignments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    bases: Sequence[Base] = (),
) -> SettingsT:
    """Merge every source and return the checked settings.

    Parameters
    ----------
    settings_class
        The outermost class. A field whose type is a `Settings`, a union of them
        with a discriminator, or marked with `Kinds` is a group.
    files
        TOML files, later ones win.
    flags
        Settings that were given by flags of their own.
    assignments
        ``dotted.key=value`` texts as given to ``--set``; values are TOML, bare words are strings.
    environment
        Variables to read ``CROSSAN_A__B`` from; the process's own by default. Names
        without a double underscore (``CROSSAN_CACHE``) are not settings.
    bases
        Settings below all of these and above the defaults, later ones win.

    Raises
    ------
    ConfigError
        A file that is not TOML, an unknown name or kind, or a value that does not fit.
    """
    variables = os.environ if environment is None else environment
    sources = all_sources(settings_class, files, variables, flags, assignments, bases)
    return _settings_from(settings_class, sources)


def settings_with(
    base: SettingsT, changes: Mapping[str, object], source: str | Mapping[str, str]
) -> SettingsT:
    """Return the settings with some of them replaced, and all of them checked again.

    Parameters
    ----------
    base
        The settings to start from.
    changes
        Values by dotted name, a group's kind among them.
    source
        Where the user gave them, as errors shall name it, for example ``"--grid"``; or
        that for each name of ``changes``.

    Raises
    ------
    ConfigError
        An unknown name, or a value that does not fit.
    """
    if isinstance(source, str):
        given = [(source, changes)]
    else:
        given = [(source[name], {name: value}) for name, value in changes.items()]
    # The base was checked under today's names, so only the changes can hold old ones.
    before = Source("settings", 0, plain(base))
    after = [Source(label, 1, nested(values, label)) for label, values in given]
    return _settings_from(type(base), [before, *upgraded(type(base), after)])


def _settings_from(settings_class: type[SettingsT], sources: Sequence[Source]) -> SettingsT:
    # Which names a group knows depends on its kind, and any source may choose that: so kinds are
    # settled over all sources first, and only then is each source's every name looked at.
    chosen, problems = choose_kinds(settings_class, sources)
    problems += check_names(chosen, sources)
    if problems:
        labels = [source.label for source in sources]
        problems.sort(key=lambda problem: labels.index(problem.source.label))
        lines = dict.fromkeys(f"{problem.source.label}: {problem.text}" for problem in problems)
        raise ConfigError(_first_of(list(lines)))
    merged: dict[str, Any] = {}
    labels_by_name: dict[str, str] = {}
    for source in without_leftovers(settings_class, sources, chosen):
        _merge(merged, labels_by_name, source.tree, source.label)
    _fill_in_groups(merged, chosen)
    try:
        return settings_class.model_validate(merged)
    except ValidationError as error:
        lines_of_values = [_describe(wrong, chosen, labels_by_name) for wrong in error.errors()]
        raise ConfigError(_first_of(lines_of_values)) from None


def _merge(
    into: dict[str, Any],
    labels: dict[str, str],
    tree: Mapping[str, Any],
    label: str,
    prefix: str = "",
) -> None:
    """Lay a source's values over those of lower ones, and note who gave each."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), labels, value, label, f"{name}.")
        else:
            into[key] = value
            labels[name] = label


def _fill_in_groups(merged: dict[str, Any], chosen: Mapping[str, Chosen]) -> None:
    """Write the kind into every group that somebody gives a part of, and what its default sets.

    pydantic takes a group that is given in part for a new one: it asks for the
    kind, and forgets what a field's default instance sets beside its class.
    """
    for path, one in chosen.items():
        node: Any = merged
        for key in filter(None, path.split(".")):
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            continue
        default = one.group.default
        if isinstance(default, one.settings_class):
            _fill_in(node, default.model_dump(mode="json", exclude_defaults=True))
        if one.group.by is not None:
            node[one.group.by] = one.kind


def _fill_in(node: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(node.get(key), dict):
            _fill_in(node[key], value)
        else:
            node.setdefault(key, value)


def _describe(
    wrong: Mapping[str, Any], chosen: Mapping[str, Chosen], labels: Mapping[str, str]
) -> str:
    """Return a line that says who gave a wrong value, for which setting, and what it was."""
    parts = _without_tags(wrong["loc"], chosen)
    name, message = ".".join(parts), wrong["msg"].removeprefix("Value error, ")
    if name in chosen:
        # Settings of a group do not fit together: the message says which, and what they are. The
        # value would be the whole group.
        guilty = " ".join(_labels_of_named(message, name, labels))
        return ": ".join(filter(None, (guilty, name, message)))
    # The nearest name around the error that somebody gave: a whole list may be given by a file,
    # while the error is in one of its entries.
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    label = next((labels[name] for name in names if name in labels), "settings")
    problem, hint, nearest_name = message.partition("; did you mean")
    return f"{label}: {name}: {problem}, got {wrong['input']!r:.200}{hint}{nearest_name}"


def _first_of(lines: Sequence[str]) -> str:
    """Return the lines of a message, those beyond `_MOST_LINES` as a count."""
    more = len(lines) - _MOST_LINES
    return "\n  ".join([*lines[:_MOST_LINES], *([f"{more:,} more"] if more > 0 else [])])


def _labels_of_named(message: str, group: str, labels: Mapping[str, str]) -> Sequence[str]:
    """Return who gave the settings of a group that a message names, each once."""
    prefix = f"{group}." if group else ""
    named = {f"{prefix}{word}" for word in re.findall(r"[\w.]+", message)}
    return list(dict.fromkeys(label for name, label in labels.items() if name in named))


def _without_tags(location: Sequence[int | str], chosen: Mapping[str, Chosen]) -> list[str]:
    """Return where an error is, without the kinds that pydantic puts between the names."""
    parts: list[str] = []
    is_tag = False
    for part in map(str, location):
        if is_tag:
            is_tag = False
            continue
        parts.append(part)
        group = chosen.get(".".join(parts))
        is_tag = group is not None and group.group.is_tagged
    return parts
