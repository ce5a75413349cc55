"""Durable writes, exclusive creation, and reads that follow no symbolic link."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crossan.cache_schema.canonical import LARGEST_FILE
from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.common.kinds_of_files import what_lies_at
from crossan.common.refusals import blaming

__all__ = [
    "LARGEST_METADATA",
    "NEW_FILE",
    "begin_write",
    "blaming",
    "create_exclusively",
    "finish_write",
    "fsync_folder",
    "move",
    "read_regular",
    "remove_durably",
    "replace_durably",
    "replace_unsynced",
    "require_plain",
    "write_all",
    "write_durably",
    "writing_whole",
]

LARGEST_METADATA = LARGEST_FILE
"""Bytes of a file of metadata at most, on a disk or a server; ours are far below."""

NEW_FILE = 0o666
"""Mode of a new file, from which the system takes the user's umask away: a group that shares a
cache sets its umask so that all of it may write there."""


def write_durably(path: Path, *parts: bytes | memoryview, shown_as: Path | None = None) -> None:
    """Write a new file of the parts and wait until its bytes are on the disk.

    The folder is not synced, so the name may still be lost in a crash.

    Parameters
    ----------
    path
        The file.
    parts
        What it will hold, one behind the other.
    shown_as
        How an error names it, where ``path`` is a temporary name that the user never sees.

    Raises
    ------
    ResourceError
        The system refuses to write it, or the disk is full.
    """
    finish_write(shown_as or path, begin_write(path, *parts, shown_as=shown_as))


def begin_write(path: Path, *parts: bytes | memoryview, shown_as: Path | None = None) -> int:
    """Write a new file of the parts and return its descriptor, which `finish_write` takes.

    A caller can write its next file while another thread waits for the disk.
    """
    with blaming(shown_as or path, byte_count := sum(len(part) for part in parts)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, NEW_FILE)
    is_whole = False
    try:
        with blaming(shown_as or path, byte_count):
            write_all(descriptor, *parts)
        is_whole = True
    finally:
        if not is_whole:
            os.close(descriptor)
    return descriptor


def write_all(descriptor: int, *parts: bytes | memoryview) -> None:
    """Write all of the parts, however little the system takes at a time."""
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]


def finish_write(path: Path, descriptor: int) -> None:
    """Wait until what `begin_write` wrote is on the disk, and close it."""
    try:
        with blaming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk."""
    with blaming(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def create_exclusively(path: Path, data: bytes) -> bool:
    """Create ``path`` with all of ``data`` or not at all.

    Of many processes that try at once only one wins. The bytes are written under a
    temporary name, synced and then linked, so nobody ever sees half a file.

    Returns
    -------
    bool
        False when ``path`` exists already.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        write_durably(temporary, data, shown_as=path)
        # A rename would replace a file that another process has just created. A link refuses to.
        with blaming(path):
            os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        with blaming(path):
            temporary.unlink(missing_ok=True)
    # Only now is the name on the disk: a caller who hears True may rely on it after a crash.
    fsync_folder(path.parent)
    return True


def replace_durably(path: Path, data: bytes | memoryview) -> None:
    """Replace whatever is at ``path`` by a file with all of ``data``.

    No reader ever sees a part of it, and a crash leaves the file of before or this one.
    """
    # The bytes are synced before the rename. The other way round a crash could leave the name
    # on a file whose bytes never reached the disk.
    _replace(path, lambda temporary: write_durably(temporary, data, shown_as=path))
    fsync_folder(path.parent)


def replace_unsynced(path: Path, data: bytes | memoryview) -> None:
    """Replace whatever is at ``path`` without waiting for the disk.

    No reader sees a part of it, but a machine that stops may leave a damaged
    file: for files that can be made again and are checked when they are read.
    """
    _replace(path, lambda temporary: os.close(begin_write(temporary, data, shown_as=path)))


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    temporary = _beside(path)
    try:
        write(temporary)
        with blaming(path):
            temporary.replace(path)
    finally:
        with blaming(path):
            temporary.unlink(missing_ok=True)


@contextmanager
def writing_whole(path: Path, *, may_replace: bool) -> Iterator[Path]:
    """Have a file written piece by piece that appears at ``path`` whole or not at all.

    The block writes to the path that it is given. Where it fails, that file goes.

    Parameters
    ----------
    path
        The file.
    may_replace
        Whether a file that is there may be replaced.

    Raises
    ------
    UsageError
        Something is at ``path`` and may not be replaced, looked at before the block and after.
    ResourceError
        The system refuses.
    """
    if not may_replace and os.path.lexists(path):
        raise _in_the_way(path)
    temporary = _beside(path)
    try:
        yield temporary
        with blaming(path):
            finish_write(path, os.open(temporary, os.O_RDONLY | os.O_CLOEXEC))
            _name_it(temporary, path, may_replace=may_replace)
    finally:
        with blaming(path):
            temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)


def _name_it(temporary: Path, path: Path, *, may_replace: bool) -> None:
    if may_replace:
        temporary.replace(path)
        return
    try:
        # A rename would replace what another process has just put there.
        os.link(temporary, path)
    except FileExistsError as error:
        raise _in_the_way(path) from error


def _in_the_way(path: Path) -> UsageError:
    return UsageError(
        f"{path}: expected nothing there, found {what_lies_at(path)}",
        remedy="Choose another path, or replace it: --replace",
    )


def _beside(path: Path) -> Path:
    # Not the process id alone: that of jobs in two containers is often the same.
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")


def move(source: Path, target: Path) -> None:
    """Rename a file or folder within its file system.

    Raises
    ------
    FileNotFoundError
        There is no ``source``, as where another process was faster.
    ResourceError
        The system refuses.
    """
    with blaming(target):
        try:
            source.rename(target)
            return
        except FileNotFoundError as error:
            if os.path.lexists(source):
                raise
            is_gone = error
    raise is_gone


def remove_durably(path: Path) -> None:
    """Remove a file, where there is one, and wait until its name is off the disk."""
    with blaming(path):
        try:
            path.unlink()
        except FileNotFoundError:
            return
    fsync_folder(path.parent)


def require_plain(root: Path, relative: str) -> Path:
    """Return ``root / relative`` after checking that no part below ``root`` is a symbolic link.

    Raises
    ------
    StoreIntegrityError
        A part is one.
    """
    # Every part is looked at: a linked folder leads out of the root as well as a linked file.
    path = root
    for part in relative.split("/"):
        path = path / part
        if path.is_symlink():
            raise StoreIntegrityError(
                f"{path}: expected a plain file or folder, found a symbolic link"
            )
    return path


def read_regular(root: Path, relative: str, largest: int = LARGEST_METADATA) -> bytes:
    """Read a file below ``root``, following no link.

    Parameters
    ----------
    root
        A folder.
    relative
        Path of the file inside.
    largest
        Bytes that are taken at most.

    Raises
    ------
    StoreIntegrityError
        A part of the path is a symbolic link, there is no regular file, or it is larger.
    """
    path = require_plain(root, relative)
    if not path.is_file():
        raise StoreIntegrityError(f"{path}: expected a file, found {what_lies_at(path)}")
    try:
        if (size := path.stat().st_size) > largest:
            raise StoreIntegrityError(f"{path}: expected at most {largest:,} bytes, found {size:,}")
        return path.read_bytes()
    except FileNotFoundError as error:  # another process removed it just now
        raise StoreIntegrityError(f"{path}: expected a file, found {what_lies_at(path)}") from error
