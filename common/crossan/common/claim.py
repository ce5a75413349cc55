"""A folder that one process at a time writes in."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crossan.cache_schema.errors import BusyError
from crossan.common.files import create_exclusively, replace_durably
from crossan.common.owners import has_ended, our_token

__all__ = ["OWNER_FILE", "claim", "refresh", "release"]

OWNER_FILE = ".owner"
"""Names the process that works in the folder; what a killed one leaves is told by its process being gone."""
_LOCKLESS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
"""A file system that has no locks: two processes that look in the same instant may both take a dead owner's folder."""


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
    place = folder / OWNER_FILE
    while not create_exclusively(place, our_token().encode()):
        with suppress(FileNotFoundError), _held(place) as owner:  # not there any more: try again
            if owner and owner != our_token() and not has_ended(owner, place):
                raise BusyError(
                    f"--out {folder}: another process {work} in this folder",
                    remedy="Choose another --out",
                )
            replace_durably(place, our_token().encode())
            return


def refresh(folder: Path) -> None:
    """Show other hosts, which cannot see our process, that it works: they take the folder over after a day without."""
    place = folder / OWNER_FILE
    with suppress(FileNotFoundError):
        if place.read_text() == our_token():
            os.utime(place)


def release(folder: Path, owner: str | None = None) -> None:
    """Let other processes have the folder; nothing happens where it is not ours, or that of ``owner``, known to be dead."""
    place = folder / OWNER_FILE
    with suppress(FileNotFoundError), _held(place) as found:
        if found == (owner or our_token()):
            place.unlink()


@contextmanager
def _held(place: Path) -> Iterator[str]:
    """Yield whom the file names, and let nobody else replace or remove it meanwhile.

    A file's text never changes: another owner is another file. So a lock on
    the file, and then a look whether it still lies there, is all.

    Raises
    ------
    FileNotFoundError
        It is gone, or another lies in its place.
    """
    mode = (
        os.O_RDWR if os.access(place, os.W_OK) else os.O_RDONLY
    )  # NFS locks only what is open for writing
    descriptor = os.open(place, mode | os.O_CLOEXEC)
    try:
        _lock(descriptor)
        if not os.path.samestat(place.stat(), os.fstat(descriptor)):
            raise FileNotFoundError(errno.ENOENT, "another file lies in its place", str(place))
        yield os.read(descriptor, 1000).decode()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        raise FileNotFoundError(errno.ENOENT, "removed by another host", str(place)) from error
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _LOCKLESS:
            raise
