"""Settings and stores as a command line gives them, for the spec that the server checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.common.config.bounds import LARGEST_TOML
from crossan.common.config.sources import parse_toml
from crossan.common.foreign import read_bounded

__all__ = ["settings_of", "store_choice"]

_STORE = re.compile(r"([a-z]+)=([0-9a-f]{12,64})(?:@([1-9][0-9]{0,8}))?")


def settings_of(files: Sequence[Path], assignments: Sequence[str]) -> dict[str, Any]:
    """Return the settings that files and assignments give, by dotted name.

    Of two values of one setting the later counts, and an assignment is later than any file.

    Raises
    ------
    ConfigError
        A file is not there or not TOML, or an assignment has no ``=``.
    """
    settings: dict[str, Any] = {}
    for path in files:
        settings |= _leaves(_read(path))
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or not name.strip():
            raise ConfigError(f"--set {assignment}: expected key=value")
        settings[name.strip()] = _value(text.strip())
    return settings


def store_choice(text: str) -> dict[str, Any]:
    """Return the store that ``modality=fingerprint`` or ``modality=fingerprint@version`` names.

    Raises
    ------
    UsageError
        The text is neither.
    """
    match = _STORE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--store {text}: expected a modality, = and the first twelve digits or more of a"
            " fingerprint, and at most @VERSION behind them",
            remedy="--store text=0123456789ab@3",
        )
    modality, fingerprint, version = match.groups()
    choice: dict[str, Any] = {"modality": modality, "fingerprint": fingerprint}
    return choice if version is None else choice | {"version": int(version)}


def _read(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(read_bounded(path, ConfigError, LARGEST_TOML).decode())
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"--config {path}: no such file") from None
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"--config {path}: not valid TOML: {error}") from None


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            leaves |= _leaves(value, f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = value
    return leaves


def _value(text: str) -> Any:  # noqa: ANN401 - a TOML value is any of TOML's types
    # What is no TOML value is a bare word, so that choices need no quotes.
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text
