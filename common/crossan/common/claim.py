"""A folder that one process at a time writes in."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crossan.cache_schema.errors import BusyError, UsageError
from crossan.common.files import create_exclusively, replace_durably
from crossan.common.owners import has_ended, is_token, our_token
from crossan.common.refusals import blaming

__all__ = ["OWNER_FILE", "claim", "is_claimed", "refresh", "release"]

OWNER_FILE = ".owner"
"""File that names the process which works in the folder.

A killed process leaves it behind; whoever comes next sees that the process has ended.
"""
_LOCKLESS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
"""What a file system without locks answers.

Two processes that look in the same instant may both take a dead owner's folder there.
"""


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
    owner_file = folder / OWNER_FILE
    # An owner may release its folder between our failed creation and our look at its file. The
    # file is missing then, which is no error: the loop tries to create it once more.
    while not create_exclusively(owner_file, our_token().encode()):
        with suppress(FileNotFoundError), _locked(owner_file) as owner:
            # A file that nobody could have written, torn by a crash, names no process.
            is_owned = is_token(owner) and owner != our_token()
            if is_owned and not has_ended(owner, owner_file):
                raise BusyError(
                    f"--out {folder}: another process {work} in this folder",
                    remedy="Choose another --out",
                )
            # Only the holder of the lock gets here, so one of many takes a dead owner's folder.
            replace_durably(owner_file, our_token().encode())
            return


def refresh(folder: Path) -> None:
    """Show other hosts, which cannot see our process, that it works.

    They take the folder over after a day without.
    """
    owner_file = folder / OWNER_FILE
    with suppress(FileNotFoundError):
        # Another host may own the folder by now. Touching its file would keep its claim alive.
        if owner_file.read_text(encoding="utf-8", errors="replace") == our_token():
            with blaming(owner_file), suppress(FileNotFoundError):
                os.utime(owner_file)


def release(folder: Path, owner: str | None = None) -> None:
    """Let other processes have the folder.

    Nothing happens where the folder belongs to somebody else.

    Parameters
    ----------
    folder
        The folder that was claimed.
    owner
        Token of the process that claimed it and is known to be dead; None for this process.
    """
    owner_file = folder / OWNER_FILE
    with suppress(FileNotFoundError), _locked(owner_file) as recorded:
        if recorded == (owner or our_token()):
            with blaming(owner_file):
                owner_file.unlink(missing_ok=True)


def is_claimed(folder: Path) -> bool:
    """Whether a process works in the folder, as far as can be seen from here.

    One of another host counts as working until a day without a sign of it.
    """
    owner_file = folder / OWNER_FILE
    try:
        owner = owner_file.read_text(encoding="utf-8", errors="replace")
        return is_token(owner) and not has_ended(owner, owner_file)
    except FileNotFoundError:
        return False


@contextmanager
def _locked(owner_file: Path) -> Iterator[str]:
    """Yield the owner that the file names, and let nobody replace or remove the file meanwhile.

    A new owner is always a new file, so the text of a file never changes.

    Raises
    ------
    FileNotFoundError
        The file was removed, or replaced by another.
    """
    # NFS locks only what is open for writing.
    mode = os.O_RDWR if os.access(owner_file, os.W_OK) else os.O_RDONLY
    descriptor = os.open(owner_file, mode | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UsageError(f"{owner_file}: expected a file, found a pipe or device")
        _lock(descriptor)
        # Whoever held the lock before us may have replaced the file, and our lock is then on a file
        # that has no name any more. A look before the lock could not see that.
        if not os.path.samestat(owner_file.stat(), os.fstat(descriptor)):
            raise FileNotFoundError(errno.ENOENT, "replaced by another file", str(owner_file))
        yield os.read(descriptor, 1000).decode(errors="replace")
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        raise FileNotFoundError(errno.ENOENT, "removed by another host", str(owner_file)) from error
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _LOCKLESS:
            raise
