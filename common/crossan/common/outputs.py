"""Files that a command writes where the user says, and never in the place of somebody else's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.common.kinds_of_files import what_lies_at
from crossan.common.refusals import refuse_dangling

__all__ = ["folder_of_ours", "require_outside_of_ours", "require_replaceable"]

_MARKS = {
    "store": ("store.json",),
    "dataset": ("dataset.json", "items.parquet"),
    "sweep": ("sweep.toml", "config.toml"),
    "run": ("config.toml", "env.json"),
}
"""The files by which a folder is known, of what it is."""
_LOOKED_AT = 4096
"""Bytes at the beginning of a file by which it is known."""


def require_replaceable(path: Path, is_ours: Callable[[bytes], bool], shown_as: str) -> None:
    """Refuse to write a file where there is anything but an earlier one that a command wrote.

    Parameters
    ----------
    path
        The file, which need not be there yet.
    is_ours
        Whether a file that begins with these bytes is an earlier one.
    shown_as
        How the error begins, for example ``"--out report.html"``.

    Raises
    ------
    UsageError
        Something else is there: a file of another kind, a folder, a link, a pipe, a device.
    """
    refuse_dangling(path, shown_as)
    if not path.exists():
        return
    # A link would be replaced and not followed, and what it leads to need not be the user's.
    obstacle = what_lies_at(path)
    if path.is_file() and not path.is_symlink():
        with path.open("rb") as file:
            if is_ours(file.read(_LOOKED_AT)):
                return
        obstacle = "a file that this command did not write"
    raise UsageError(
        f"{shown_as}: expected nothing at {path}, or what this command wrote before, found {obstacle}",
        remedy="Name another --out, or move it away",
    )


def require_outside_of_ours(folder: Path, shown_as: str) -> None:
    """Refuse to write files of another kind into a store, dataset, run or sweep.

    Parameters
    ----------
    folder
        Where the files are to be, not there yet perhaps.
    shown_as
        How the error begins, for example ``"--out mmrec"``.

    Raises
    ------
    UsageError
        It is one, or lies in one.
    """
    ours = folder_of_ours(folder)
    if ours is not None:
        kind, root = ours
        raise UsageError(
            f"{shown_as}: expected a folder of your own, found the {kind} {root}",
            remedy="Name another folder",
        )


def folder_of_ours(folder: Path) -> tuple[str, Path] | None:
    """Return what a folder is, or the nearest one above it, and where that lies.

    It is ``"store"``, ``"dataset"``, ``"sweep"`` or ``"run"``; None where there is none.
    """
    resolved = folder.resolve()
    for parent in (resolved, *resolved.parents):
        for kind, names in _MARKS.items():
            # Not Path.is_file, which raises where a folder may not be looked into.
            if all(os.path.isfile(parent / name) for name in names):  # noqa: PTH113
                return kind, parent
    return None
