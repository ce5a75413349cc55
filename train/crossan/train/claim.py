"""A folder that one process at a time writes in."""

from __future__ import annotations

from pathlib import Path

from crossan.cache_schema.errors import BusyError
from crossan.common.stores.files import create_exclusively
from crossan.common.stores.owners import is_abandoned, our_token

__all__ = ["OWNER_FILE", "claim", "release"]

OWNER_FILE = ".owner"
"""Names the process that works in the folder; what a killed one leaves is told by its process being gone."""


def claim(folder: Path, work: str) -> None:
    """Take the folder for this process.

    Parameters
    ----------
    folder
        An existing folder, ``--out`` of the command.
    work
        What a process does in such a folder, for example ``"trains"``.

    Raises
    ------
    BusyError
        Another process works in it.
    """
    owner = folder / OWNER_FILE
    while not create_exclusively(owner, our_token().encode()):
        seen = owner.read_text() if owner.exists() else ""
        if seen == our_token():
            return
        if seen and not is_abandoned(folder, seen):
            raise BusyError(f"--out {folder}: another process {work} in this folder", remedy="Choose another --out")
        owner.unlink(missing_ok=True)


def release(folder: Path, owner: str | None = None) -> None:
    """Let other processes have the folder; nothing happens where it is not ours, or that of ``owner``, known to be dead."""
    place = folder / OWNER_FILE
    if place.is_file() and place.read_text() == (owner or our_token()):
        place.unlink()
