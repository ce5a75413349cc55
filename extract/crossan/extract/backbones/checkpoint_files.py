"""Read the small files beside a checkpoint's weights, whoever wrote them.

The one door for text and JSON of a checkpoint's folder. What comes through it is a
regular file of a bounded size, and no pointer that git-lfs left behind.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from crossan.cache_schema.canonical import canonical_bytes, parse_object
from crossan.cache_schema.errors import StoreIntegrityError, UsageError

__all__ = ["check_file", "read_object", "read_text"]

_MOST_BYTES = 64 << 20
"""Bytes of a text; the largest tokenizer.json of a published checkpoint has 33 MB."""

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def check_file(path: Path, remedy: str) -> bool:
    """Return whether there is such a file, and refuse what is no file of a checkpoint.

    Parameters
    ----------
    remedy
        The command that fetches the checkpoint's files again.

    Raises
    ------
    UsageError
        It is a dangling link, no regular file, a pointer of git-lfs, or cannot be read.
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
        raise UsageError(f"{path}: cannot be read: {error.strerror}", remedy=remedy) from None
    if not is_regular:
        raise UsageError(f"{path}: expected a regular file", remedy=remedy)
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}", remedy=remedy) from None
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
    """
    if not check_file(path, remedy):
        return None
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}", remedy=remedy) from None
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
