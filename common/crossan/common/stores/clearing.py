"""Bringing back the folders of a store in whose place something else lies."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from crossan.common.files import fsync_folder
from crossan.common.refusals import blaming, make_folder

__all__ = ["FOLDERS", "clear_folders"]

FOLDERS = ("canary", "segments", "versions", "staging")
"""The folders of every store."""
_MAY_BE_LINKS = ("staging", "pins")
"""A linked folder is refused only where readers take something from it."""


def clear_folders(store: Path) -> list[str]:
    """Move what lies in the place of a store's folders, and is none, to ``staging/``.

    An empty folder is made in its place.

    Returns
    -------
    list of str
        Names of the folders that were not there as such.

    Raises
    ------
    ResourceError
        The system refuses.
    """
    cleared, unique = [], secrets.token_hex(4)
    for name in ("staging", *FOLDERS, "pins"):
        path = store / name
        is_wrong_link = path.is_symlink() and name not in _MAY_BE_LINKS
        if is_wrong_link or (os.path.lexists(path) and not path.is_dir()):
            # Under a name beside it first: what is to be moved may be staging/ itself.
            aside = path.with_name(f".damaged-{name}-{unique}")
            with blaming(path):
                path.rename(aside)
                make_folder(store / "staging")
                make_folder(path)
                aside.rename(store / "staging" / aside.name[1:])
                fsync_folder(store)
            cleared.append(name)
    return cleared
