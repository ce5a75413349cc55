"""Where settings come from: files, the environment, flags and ``--set``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from crossan.cache_schema.errors import ConfigError
from crossan.common.config.base import Settings

__all__ = ["FlagValue", "Source", "all_sources", "nested", "source_of"]

_ENVIRONMENT_PREFIX = "CROSSAN_"
_NESTING = "__"


class FlagValue(NamedTuple):
    """A setting that was given by a flag of its own."""

    flag: str
    """The flag as it is typed, for example ``--lr``."""

    setting: str
    """Dotted name of the setting."""

    value: object


@dataclass(frozen=True, slots=True)
class Source:
    """What one file, one variable or one flag gives."""

    label: str
    """How errors name it: what the user typed or edited."""

    rank: int
    """Higher ranks win; all of the environment has one rank, and all of the command line."""

    tree: dict[str, Any]
    """Its values, nested by group."""


def all_sources(
    settings_class: type[Settings],
    files: Sequence[Path],
    environment: Mapping[str, str],
    flags: Sequence[FlagValue],
    assignments: Sequence[str],
) -> list[Source]:
    """Return every source, the lowest first.

    Raises
    ------
    ConfigError
        A file is not there or not TOML, an assignment has no ``=``, or old names contradict
        each other.
    """
    sources = [
        source_of(settings_class, str(path), rank, _read_toml(path))
        for rank, path in enumerate(files)
    ]
    environment_rank, command_line_rank = len(files), len(files) + 1
    for variable, tree in _from_environment(environment):
        sources.append(source_of(settings_class, variable, environment_rank, tree))
    for flag, setting, value in flags:
        tree = nested({setting: value}, flag)
        sources.append(source_of(settings_class, _flag_label(flag, value), command_line_rank, tree))
    for assignment in assignments:
        label = f"--set {assignment}"
        tree = _parse_assignment(assignment)
        sources.append(source_of(settings_class, label, command_line_rank, tree))
    return sources


def source_of(
    settings_class: type[Settings], label: str, rank: int, tree: Mapping[str, Any]
) -> Source:
    """Return a source with its old names upgraded.

    Raises
    ------
    ConfigError
        The old names contradict each other.
    """
    # Upgraded before anything looks at names: an old name would be refused as unknown. A copy,
    # because the upgrade may change its tree in place and the caller keeps the one it gave.
    try:
        return Source(label, rank, settings_class.upgraded(deepcopy(dict(tree))))
    except ValueError as error:
        raise ConfigError(f"{label}: {error}") from None


def nested(values: Mapping[str, object], label: str) -> dict[str, Any]:
    """Return values by dotted name as a tree of groups.

    Raises
    ------
    ConfigError
        One name is both a value and a group.
    """
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = name.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{label}: {group} is a value and a group at once")
        node[last] = value
    return tree


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"--config {path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: not valid TOML: {error}") from None


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for variable in sorted(environment):
        # A single underscore is part of a name: CROSSAN_CACHE is a folder, not a setting.
        if variable.startswith(_ENVIRONMENT_PREFIX) and _NESTING in variable:
            name = variable.removeprefix(_ENVIRONMENT_PREFIX).lower().replace(_NESTING, ".")
            yield variable, nested({name: _parse_value(environment[variable])}, variable)


def _flag_label(flag: str, value: object) -> str:
    # A switch has no value, and a long list says nothing that the message does not repeat.
    return f"{flag} {value}" if isinstance(value, str | int | float) and value is not True else flag


def _parse_assignment(assignment: str) -> dict[str, Any]:
    name, separator, text = assignment.partition("=")
    if not separator or not name.strip():
        raise ConfigError(f"--set {assignment}: expected key=value")
    return nested({name.strip(): _parse_value(text.strip())}, f"--set {assignment}")


def _parse_value(text: str) -> Any:  # noqa: ANN401 - a TOML value is any of TOML's types
    # What is no TOML value is a bare word, so that paths and choices need no quotes.
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
