"""What the system refuses to write, as errors that name the file the user knows."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.common.kinds_of_files import what_lies_at

__all__ = [
    "CANNOT_WRITE",
    "blaming",
    "can_write",
    "disk_full",
    "make_folder",
    "refuse_dangling",
    "require_no_file",
    "require_writable",
    "write_refusal",
]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""EDQUOT is the user's quota: for the user it is as full as a full disk."""

CANNOT_WRITE = _FULL | {
    errno.EACCES,
    errno.EBUSY,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.EMFILE,
    errno.EMLINK,
    errno.ENAMETOOLONG,
    errno.ENFILE,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EPERM,
    errno.EREMOTEIO,
    errno.EROFS,
    errno.ESTALE,
    errno.ETXTBSY,
}
"""What the system answers where a path cannot be written, whatever the program does."""


@contextmanager
def blaming(path: Path, byte_count: int | None = None) -> Iterator[None]:
    """Turn a refusal of the system to write into an error that names the file.

    That a path is not there is one too: no file can be made there, or its folder was
    removed meanwhile. Any other `OSError` of the block gets the file's name where it has none.

    Parameters
    ----------
    path
        The file or folder as the user knows it, not a temporary name of ours.
    byte_count
        How many bytes were to be written, for the message of a full disk.

    Raises
    ------
    ResourceError
        The system refuses, or the disk or the user's share of it is full.
    """
    try:
        yield
    except ResourceError:  # a block inside this one knows the file better
        raise
    except OSError as error:
        refusal = write_refusal(error, path, byte_count)
        if refusal is not None:
            raise refusal from error
        if error.filename is None:
            error.filename = str(path)
        raise


def write_refusal(
    error: OSError, path: Path, byte_count: int | None = None
) -> ResourceError | None:
    """Return our error for a refusal of the system to write, None for any other `OSError`.

    It keeps ``errno``, so that a caller who can do without the file sees why.
    """
    if error.errno not in CANNOT_WRITE | {errno.ENOENT}:
        return None
    if error.errno in _FULL:
        refusal = disk_full(path, byte_count)
    else:
        refusal = ResourceError(
            f"cannot write {path}: {_why(error, path)}",
            remedy="Name another folder, or mend this one and run the same command again",
        )
    refusal.errno, refusal.strerror, refusal.filename = error.errno, error.strerror, str(path)
    return refusal


def _why(error: OSError, path: Path) -> str:
    if error.errno == errno.ENOTDIR:
        part = _nearest(path.parent)
        if not part.is_dir():
            return f"{part} is {what_lies_at(part)}, expected a folder"
    if error.errno == errno.ENOENT:
        if not os.path.exists(path.parent):  # noqa: PTH110 - see _nearest
            return f"{_nearest(path.parent)} has no {_below_nearest(path.parent)} in it"
        return "nothing can be made there, or it was removed meanwhile"
    return error.strerror or os.strerror(error.errno or 0)


def _nearest(path: Path) -> Path:
    """Return the path, or the lowest of those above it that is there."""
    parts = (path.absolute(), *path.absolute().parents)
    # Not Path.exists, which raises where a folder above may not be looked into.
    return next((part for part in parts if os.path.exists(part)), Path("/"))  # noqa: PTH110


def _below_nearest(path: Path) -> str:
    """Return the name of the highest part of a path that is not there."""
    return path.absolute().relative_to(_nearest(path)).parts[0]


def disk_full(path: Path, byte_count: int | None = None) -> ResourceError:
    """Return the error for a disk that has no room for ``byte_count`` more bytes at ``path``."""
    needed = "" if byte_count is None else f"{byte_count:,} bytes needed, "
    return ResourceError(
        f"no space left while writing {path}: {needed}"
        f"{shutil.disk_usage(_nearest(path)).free:,} bytes free on its disk; "
        "what was published before is kept",
        remedy="Free some space, then run the same command again",
    )


def refuse_dangling(path: Path, shown_as: str | None = None) -> None:
    """Raise `UsageError` where a path, or a folder above it, is a link that leads nowhere.

    Parameters
    ----------
    path
        What the user named.
    shown_as
        How the error names what the user gave, for example ``"--cache c"``.
    """
    for part in (path, *path.parents):
        if part.is_symlink() and not os.path.exists(part):  # noqa: PTH110
            named = "" if shown_as is None else f"{shown_as}: "
            raise UsageError(
                f"{named}{part} leads to {part.parent / part.readlink()}, which is not there",
                remedy="Mount or make what it leads to, or name another folder",
            )


def can_write(path: Path) -> bool:
    """Return whether the system lets us write in a folder, or where it would have to be made."""
    nearest = _nearest(path)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def require_writable(folder: Path, shown_as: str | None = None) -> None:
    """Refuse a folder that cannot be written in, before any work begins.

    Parameters
    ----------
    folder
        A folder, which need not be there yet.
    shown_as
        How the error begins, for example ``"--out runs/x"``.

    Raises
    ------
    UsageError
        It is, or lies behind, a link that leads nowhere.
    ResourceError
        The system would refuse it.
    """
    require_no_file(folder, shown_as)
    if not can_write(folder):
        raise ResourceError(
            f"{shown_as or folder}: {_nearest(folder)} cannot be written to",
            remedy="Name another folder",
        )


def require_no_file(folder: Path, shown_as: str | None = None) -> None:
    """Refuse a folder in whose place, or above whose place, there is no folder.

    Parameters
    ----------
    folder
        A folder, which need not be there yet.
    shown_as
        How the error begins, for example ``"--cache c"``.

    Raises
    ------
    UsageError
        There is a link that leads nowhere.
    ResourceError
        There is a file.
    """
    refuse_dangling(folder, shown_as)
    nearest = _nearest(folder)
    if not nearest.is_dir():
        raise ResourceError(
            f"{shown_as or folder}: {nearest} is {what_lies_at(nearest)}, expected a folder",
            remedy="Name another folder",
        )


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where they are not there yet.

    Raises
    ------
    UsageError
        A link on the way leads nowhere.
    ResourceError
        The system refuses, or there is a file in the way.
    """
    try:
        with blaming(path):
            path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        refuse_dangling(path)
        raise ResourceError(
            f"cannot write {path}: expected a folder, found {what_lies_at(path)}",
            remedy="Name another folder",
        ) from error
