"""Durable writes, exclusive creation, and reads that follow no symbolic link."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossan.cache_schema.errors import StoreIntegrityError

__all__ = ["blaming", "create_exclusively", "fsync_folder", "read_regular", "require_plain", "write_durably"]


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Give an `OSError` of the block the name of the file it is about, where it has none: a full disk must be found."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and wait until its bytes are on the disk; the folder is not synced."""
    with blaming(path), path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_exclusively(path: Path, data: bytes) -> bool:
    """Create ``path`` with all of ``data`` or not at all; only one of many processes wins.

    The bytes are written under a temporary name, synced, and then linked, so
    nobody ever sees half a file.

    Returns
    -------
    bool
        False when something lies at ``path`` already.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    write_durably(temporary, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    fsync_folder(path.parent)
    return True


def require_plain(root: Path, relative: str) -> Path:
    """Return ``root / relative`` after making sure that no part below ``root`` is a symbolic link.

    Raises
    ------
    StoreIntegrityError
        A part is one.
    """
    path = root
    for part in relative.split("/"):
        path = path / part
        if path.is_symlink():
            raise StoreIntegrityError(f"{path}: expected a plain file or folder, found a symbolic link")
    return path


def read_regular(root: Path, relative: str) -> bytes:
    """Read a file below ``root``, following no link.

    Raises
    ------
    StoreIntegrityError
        A part of the path is a symbolic link, or no regular file lies there.
    """
    path = require_plain(root, relative)
    if not path.is_file():
        raise StoreIntegrityError(f"{path}: expected a file, found {'a folder' if path.is_dir() else 'nothing'}")
    return path.read_bytes()
