"""Settings from files, the environment and flags into one checked, frozen object.

Precedence, lowest first: defaults, TOML files in order, ``CROSSAN_*`` variables
(``CROSSAN_MODEL__TOP_K=3`` sets ``model.top_k``), ``--set key=value``. An unknown
key is an error that names the nearest known one; every problem of one source is
reported at once.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from crossan.cache_schema.errors import ConfigError

__all__ = [
    "Settings",
    "dotted",
    "load_settings",
    "settings_differences",
    "settings_with",
    "to_toml",
    "toml_value",
]

_ENVIRONMENT_PREFIX = "CROSSAN_"
_NESTING = "__"


class Settings(BaseModel):
    """One group of settings: frozen, and without room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


SettingsT = TypeVar("SettingsT", bound=Settings)


def load_settings(
    kind: type[SettingsT],
    *,
    files: Sequence[Path] = (),
    assignments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> SettingsT:
    """Merge every source and return the checked settings.

    Parameters
    ----------
    kind
        The settings class; nested groups are fields whose type is a `Settings`.
    files
        TOML files, later ones win.
    assignments
        ``dotted.key=value`` texts as given to ``--set``; values are TOML, bare words are strings.
    environment
        Variables to read ``CROSSAN_A__B`` from; the process's own by default. Names
        without a double underscore (``CROSSAN_CACHE``) are not settings.

    Raises
    ------
    ConfigError
        A file that is not TOML, an unknown key, or a value that does not fit.
    """
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for path in files:
        _merge(kind, merged, sources, _read_toml(path), str(path))
    _merge(
        kind,
        merged,
        sources,
        _from_environment(os.environ if environment is None else environment),
        "environment",
    )
    for assignment in assignments:
        _merge(kind, merged, sources, _parse_assignment(assignment), f"--set {assignment}")
    return _checked(kind, merged, sources)


def settings_with(base: SettingsT, changes: Mapping[str, object], source: str) -> SettingsT:
    """Return the settings with some of them replaced, and all of them checked again.

    Parameters
    ----------
    base
        The settings to start from.
    changes
        Values by dotted name.
    source
        Where the user gave them, as errors shall name it, for example ``"--grid"``.

    Raises
    ------
    ConfigError
        An unknown name, or a value that does not fit.
    """
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    tree: dict[str, Any] = {}
    for name, value in changes.items():
        _place(tree, name.split("."), value, source)
    _merge_tree(merged, sources, base.model_dump(mode="json"), "settings", "")
    _merge(type(base), merged, sources, tree, source)
    return _checked(type(base), merged, sources)


def settings_differences(
    before: Settings, now: Settings, *, but: Collection[str] = ()
) -> list[str]:
    """Return one line for every setting that is not the same, ``name: ... there, ... asked``.

    Parameters
    ----------
    before, now
        Settings of one class.
    but
        Top-level names that may differ.
    """
    there, asked = (dict(dotted(one.model_dump(mode="json"))) for one in (before, now))
    return [
        f"{name}: {there.get(name)} there, {asked.get(name)} asked"
        for name in sorted(there.keys() | asked.keys())
        if there.get(name) != asked.get(name) and name.partition(".")[0] not in but
    ]


def to_toml(settings: Settings) -> str:
    """Write settings as TOML that `load_settings` reads back to the same object; None is left out."""
    lines: list[str] = []
    _write_table(settings.model_dump(mode="json"), "", lines)
    return "\n".join(lines) + "\n"


def toml_value(value: object) -> str:
    """Write one value as TOML.

    Raises
    ------
    TypeError
        TOML has no such value.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        import json

        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Sequence):
        return f"[{', '.join(toml_value(entry) for entry in value)}]"
    raise TypeError(f"no TOML form for {type(value).__name__}")


def dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested groups under its dotted name."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _checked(
    kind: type[SettingsT], merged: Mapping[str, Any], sources: Mapping[str, str]
) -> SettingsT:
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        lines = [_describe(problem, sources) for problem in error.errors()]
        raise ConfigError("\n  ".join(lines)) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"--config {path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: not valid TOML: {error}") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name in sorted(environment):
        if name.startswith(_ENVIRONMENT_PREFIX) and _NESTING in name:
            keys = name.removeprefix(_ENVIRONMENT_PREFIX).lower().split(_NESTING)
            _place(tree, keys, _parse_value(environment[name]), name)
    return tree


def _parse_assignment(assignment: str) -> dict[str, Any]:
    key, separator, text = assignment.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {assignment}: expected key=value")
    tree: dict[str, Any] = {}
    _place(tree, key.strip().split("."), _parse_value(text.strip()), f"--set {assignment}")
    return tree


def _parse_value(text: str) -> Any:  # noqa: ANN401 - a TOML value is any of TOML's types
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _place(tree: dict[str, Any], keys: list[str], value: object, source: str) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{source}: {key} is a value and a group at once")
    tree[keys[-1]] = value


def _merge(
    kind: type[Settings],
    into: dict[str, Any],
    sources: dict[str, str],
    tree: Mapping[str, Any],
    source: str,
) -> None:
    problems = list(_unknown_keys(kind, tree, ""))
    if problems:
        raise ConfigError("\n  ".join(f"{source}: {problem}" for problem in problems))
    _merge_tree(into, sources, tree, source, "")


def _merge_tree(
    into: dict[str, Any], sources: dict[str, str], tree: Mapping[str, Any], source: str, prefix: str
) -> None:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge_tree(into.setdefault(key, {}), sources, value, source, f"{name}.")
        else:
            into[key] = value
            sources[name] = source


def _unknown_keys(kind: type[Settings], tree: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in tree.items():
        field = kind.model_fields.get(key)
        if field is None:
            yield f"unknown setting '{prefix}{key}'{_nearest(prefix + key, kind, prefix)}"
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            if isinstance(value, Mapping):
                yield from _unknown_keys(field.annotation, value, f"{prefix}{key}.")
            else:
                yield f"'{prefix}{key}' is a group of settings; name one of them, for example '{prefix}{key}.{next(iter(field.annotation.model_fields))}'"


def _nearest(name: str, kind: type[Settings], prefix: str) -> str:
    known = [f"{prefix}{key}" for key in _dotted_keys(kind)]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    if not close:
        last = name.rpartition(".")[2]
        close = [
            key
            for key in known
            if difflib.SequenceMatcher(None, key.rpartition(".")[2], last).ratio() > 0.7
        ][:1]
    return f"; did you mean '{close[0]}'?" if close else f"; known here: {', '.join(known)}"


def _dotted_keys(kind: type[Settings]) -> Iterator[str]:
    for key, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from (f"{key}.{inner}" for inner in _dotted_keys(field.annotation))
        else:
            yield key


def _describe(problem: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    keys = [str(part) for part in problem["loc"]]
    name = ".".join(keys)
    owner = next(
        (
            sources[".".join(keys[:n])]
            for n in range(len(keys), 0, -1)
            if ".".join(keys[:n]) in sources
        ),
        "settings",
    )
    message = problem["msg"].removeprefix("Value error, ")
    return f"{owner}: {name or 'settings'}: {message}, got {problem['input']!r}"


def _write_table(values: Mapping[str, Any], prefix: str, lines: list[str]) -> None:
    groups = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    lines += [
        f"{key} = {toml_value(value)}"
        for key, value in values.items()
        if key not in groups and value is not None
    ]
    for key, group in groups.items():
        lines += ["", f"[{prefix}{key}]"]
        _write_table(group, f"{prefix}{key}.", lines)
