"""The folder in which a run is judged again, on its dataset as it is now.

``crossan compare`` reads it as if it were a run. It holds no model: ``settings.toml``
is what the run was made with, ``result.json`` has the figures and says whose they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import UsageError
from crossan.common.config import load_settings, to_toml
from crossan.common.files import remove_durably, replace_durably
from crossan.common.kinds_of_files import what_lies_at
from crossan.common.refusals import make_folder, refuse_dangling
from crossan.train.settings import RunSettings

__all__ = [
    "begin_evaluation",
    "is_evaluation",
    "read_evaluated_settings",
    "require_evaluation_place",
    "write_evaluation",
]

_SETTINGS, _RESULT = "settings.toml", "result.json"


def is_evaluation(folder: Path) -> bool:
    """Whether the folder holds the figures of a run that lies elsewhere."""
    return (folder / _SETTINGS).is_file() and not (folder / "config.toml").exists()


def read_evaluated_settings(folder: Path) -> RunSettings:
    """Return the settings of the run that was judged."""
    return load_settings(RunSettings, files=[folder / _SETTINGS], environment={})


def require_evaluation_place(folder: Path) -> None:
    """Refuse a folder with anything in it but an earlier evaluation.

    Raises
    ------
    UsageError
        There is something else.
    """
    refuse_dangling(folder, f"--out {folder}")
    if not folder.exists() or is_evaluation(folder):
        return
    is_folder = folder.is_dir()
    # What a killed process had not finished writing has a name that begins with a dot.
    if is_folder and all(entry.name.startswith(".") for entry in folder.iterdir()):
        return
    obstacle = "a folder with other files in it" if is_folder else what_lies_at(folder)
    raise UsageError(
        f"--out {folder}: expected nothing there, or an earlier evaluation, found {obstacle}",
        remedy=f"Name another folder: --out {folder}-2",
    )


def begin_evaluation(folder: Path, settings: RunSettings) -> None:
    """Make the folder one of an evaluation, as yet without figures."""
    make_folder(folder)
    # First: whatever is written after it, the folder is known for what it is.
    replace_durably(folder / _SETTINGS, to_toml(settings.anywhere()).encode())
    if (folder / _RESULT).exists():
        remove_durably(folder / _RESULT)


def write_evaluation(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the figures, which makes the evaluation whole."""
    replace_durably(folder / _RESULT, (json.dumps(result, indent=2) + "\n").encode())
