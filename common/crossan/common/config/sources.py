"""The sources of settings, which are files, the environment, flags and ``--set``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from crossan.cache_schema.errors import ConfigError
from crossan.common.config.base import Settings
from crossan.common.config.bounds import LARGEST_TOML, require_bounded
from crossan.common.config.upgrading import Source, upgraded
from crossan.common.foreign import read_bounded

__all__ = ["Base", "FlagValue", "Source", "all_sources", "nested", "parse_toml"]

_ENVIRONMENT_PREFIX = "CROSSAN_"
_NESTING = "__"


class Base(NamedTuple):
    """Settings that stand below everything a user gives, for example those of a recipe."""

    label: str
    """How errors name it."""

    values: Mapping[str, object]
    """Values by dotted name."""


class FlagValue(NamedTuple):
    """A setting that was given by a flag of its own."""

    flag: str
    """The flag as it is typed, for example ``--lr``."""

    setting: str
    """Dotted name of the setting."""

    value: object


def all_sources(
    settings_class: type[Settings],
    files: Sequence[Path],
    environment: Mapping[str, str],
    flags: Sequence[FlagValue],
    assignments: Sequence[str],
    bases: Sequence[Base] = (),
) -> list[Source]:
    """Return every source, the lowest first.

    Raises
    ------
    ConfigError
        A file is not there or not TOML, an assignment has no ``=``, a source holds far more
        than there are settings, or old names contradict each other.
    """
    command_line = [
        *(
            Source(_flag_label(flag, value), len(files) + 1, nested({setting: value}, flag))
            for flag, setting, value in flags
        ),
        *(
            Source(f"--set {assignment}", len(files) + 1, _parse_assignment(assignment))
            for assignment in assignments
        ),
    ]
    by_rank = [
        # Below the files, which have the ranks from 0.
        *(
            [Source(base.label, number - len(bases), nested(base.values, base.label))]
            for number, base in enumerate(bases)
        ),
        *([Source(str(path), rank, _read_toml(path))] for rank, path in enumerate(files)),
        [Source(variable, len(files), tree) for variable, tree in _from_environment(environment)],
        command_line,
    ]
    for source in (source for sources in by_rank for source in sources):
        require_bounded(source.tree, source.label)
    return [source for sources in by_rank for source in upgraded(settings_class, sources)]


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
        return parse_toml(read_bounded(path, ConfigError, LARGEST_TOML).decode())
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"--config {path}: no such file") from None
    except ConfigError:
        raise
    except ValueError as error:
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
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises
    ------
    ValueError
        It is not TOML, or has values that Python cannot hold.
    """
    try:
        # A number of thousands of digits is a plain ValueError.
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None
