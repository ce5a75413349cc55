"""What lies at a path, in words."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["what_lies_at"]

_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def what_lies_at(path: Path) -> str:
    """Return what an error says was found at a path, such as ``"a folder"`` or ``"nothing"``.

    Links are not followed. Of one is said where it leads, and whether anything is there.
    """
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        is_absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        return "nothing" if is_absent else (error.strerror or "what cannot be looked at")
    if not stat.S_ISLNK(mode):
        return _KINDS.get(stat.S_IFMT(mode), "something that is no file")
    target = path.readlink()
    # Not Path.exists, which raises where a folder on the way may not be looked into.
    is_there = os.path.exists(path)  # noqa: PTH110
    return f"a link to {target}" + ("" if is_there else ", which is not there")
