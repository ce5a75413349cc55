"""Read the small files beside a checkpoint's weights, whoever wrote them.

The one door for text and JSON of a checkpoint's folder. What comes through it is a
regular file of a bounded size, and no pointer that git-lfs left behind.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

from crossan.cache_schema.canonical import canonical_bytes, parse_object
from crossan.cache_schema.errors import ResourceError, StoreIntegrityError, UsageError

__all__ = ["cannot_read", "check_file", "check_folder", "read_object", "read_text"]

_MOST_BYTES = 64 << 20
"""Bytes of a text; the largest tokenizer.json of a published checkpoint has 33 MB."""

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def cannot_read(path: Path, error: OSError) -> ResourceError:
    """Return the error for a file or folder that is there but that the system does not let us read.

    Nothing is known to be wrong with the checkpoint, so it need not be fetched again.
    """
    return ResourceError(
        f"{path}: cannot be read: {error.strerror}",
        remedy="Make it readable for the user who runs this, or give another folder:"
        " --backbone FOLDER",
    )


def check_folder(path: Path) -> bool:
    """Return whether there is such a folder.

    Raises
    ------
    ResourceError
        The system refuses to look at it, or to list it.
    """
    # Not Path.is_dir and Path.glob: the first says no of a folder in one that may not be entered,
    # or raises, by the version of Python, and the second finds nothing in one that is not listed.
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return False
        with os.scandir(path):
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        # A hub id or a preset's name is no path, and may be longer than one.
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return False
        raise cannot_read(path, error) from None


def check_file(path: Path, remedy: str) -> bool:
    """Return whether there is such a file, and refuse what is no file of a checkpoint.

    Parameters
    ----------
    remedy
        What to do about a file that is damaged.

    Raises
    ------
    UsageError
        It is a dangling link, no regular file, or a pointer of git-lfs.
    ResourceError
        The system refuses to read it.
    """
    try:
        # A device or a pipe would block the reader, or never end.
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        if path.is_symlink():
            raise UsageError(
                f"{path}: a link to {path.readlink()}, which is not there", remedy=remedy
            ) from None
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"{path}: a link that leads to itself", remedy=remedy) from None
        raise cannot_read(path, error) from None
    if not is_regular:
        raise UsageError(f"{path}: expected a regular file", remedy=remedy)
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise cannot_read(path, error) from None
    if start == _LFS_POINTER:
        raise UsageError(
            f"{path}: expected a file of the checkpoint, found a git-lfs pointer to it:"
            " the folder was cloned without git-lfs",
            remedy=f"Run: git lfs pull  (in {path.parent})",
        )
    return True


def read_text(path: Path, remedy: str) -> str | None:
    """Return the text of a file, None where there is no such file.

    Raises
    ------
    UsageError
        As `check_file`, or it is too large, or not UTF-8.
    ResourceError
        The system refuses to read it.
    """
    if not check_file(path, remedy):
        return None
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise cannot_read(path, error) from None
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path}: expected at most {_MOST_BYTES >> 20} MiB", remedy=remedy)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: expected UTF-8, found byte {data[error.start]:#04x} at {error.start:,}",
            remedy=remedy,
        ) from None


def read_object(path: Path, remedy: str) -> dict[str, Any] | None:
    """Return the JSON object that a file holds, None where there is no such file.

    Raises
    ------
    UsageError
        As `read_text`, or it is not one JSON object.
    ResourceError
        The system refuses to read it.
    """
    text = read_text(path, remedy)
    if text is None:
        return None
    try:
        value = parse_object(text.encode(), str(path))
        # Half a character can be spelt in JSON, but not be written into an identity.
        canonical_bytes(value)
    except StoreIntegrityError as error:
        raise UsageError(error.message, remedy=remedy) from None
    except UnicodeEncodeError:
        raise UsageError(
            f"{path}: expected text in Unicode, found half a character", remedy=remedy
        ) from None
    return value
