"""One chunk file: opened for reading, and whether it is still what it was."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import CRC_BYTES, ArrayLayout
from crossan.cache_schema.segment import FileEntry
from crossan.common.files import require_plain
from crossan.common.kinds_of_files import what_lies_at

__all__ = ["ChunkFile", "FileState", "MissingChunkError"]

_GRAIN_NS, _COARSE_GRAIN_NS = 50_000_000, 2_500_000_000
"""What a file system's clock may lag behind ours: some ticks, or the second of an old one."""
_UNREADABLE = {errno.EIO, errno.ESTALE}


class MissingChunkError(StoreIntegrityError):
    """There is no file where a chunk is recorded."""


class FileState(NamedTuple):
    """What `os.stat` says of a file that changes with its content."""

    device: int
    inode: int
    byte_count: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """Take it from what `os.stat` gave."""
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )

    @property
    def file(self) -> tuple[int, int, int]:
        """Which file it is, with its size."""
        return self.device, self.inode, self.byte_count

    @property
    def is_settled(self) -> bool:
        """Whether any write from now on shows in the times.

        A write within the same tick of the file system's clock leaves them as they are.
        """
        grain = _GRAIN_NS if self.changed_ns % 1_000_000_000 else _COARSE_GRAIN_NS
        return self.changed_ns + grain < time.time_ns()


class ChunkFile:
    """One chunk file of a version, as its segment records it."""

    __slots__ = ("_name", "entry", "layout", "segment")

    def __init__(self, segment: Path, entry: FileEntry, layout: ArrayLayout) -> None:
        self.segment, self.entry, self.layout = segment, entry, layout
        self._name = f"{segment}/{entry.path}"  # looked at before and after each gather

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.segment / self.entry.path

    def state(self) -> FileState | None:
        """Return the state of what lies at the path now, None where nothing does."""
        try:
            return FileState.of(os.lstat(self._name))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_still(self, state: FileState | None) -> bool:
        """Whether what lies at the path is in a state that was seen before."""
        try:
            now = os.lstat(self._name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        # A plain tuple: this runs twice for each chunk and gather, when the caches hold only rows.
        return state == (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)

    def open(self) -> int:
        """Return a descriptor of the file, its kind and size checked.

        Raises
        ------
        MissingChunkError
            No file.
        StoreIntegrityError
            A link, another size, or no payload at all.
        """
        require_plain(self.segment, self.entry.path)
        # A pipe in the place of the file would block the open for ever, but for O_NONBLOCK.
        try:
            descriptor = os.open(
                self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingChunkError(
                f"{self.path}: expected {self.entry.size:,} bytes, found no such file"
            ) from error
        status = os.fstat(descriptor)
        problem = None
        if not stat.S_ISREG(status.st_mode):
            problem = f"expected a file, found {what_lies_at(self.path)}"
        elif status.st_size != self.entry.size:
            problem = f"expected {self.entry.size:,} bytes, found {status.st_size:,} bytes"
        elif status.st_size <= CRC_BYTES:
            problem = f"expected a payload before the CRC32C, found {status.st_size} bytes"
        if problem is not None:
            os.close(descriptor)
            raise StoreIntegrityError(f"{self.path}: {problem}")
        return descriptor

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open the file for the block, as `open` does.

        Raises
        ------
        StoreIntegrityError
            Also where the block meets bytes that the disk cannot read.
        """
        try:
            descriptor = self.open()
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            raise StoreIntegrityError(
                f"{self.path}: expected {self.entry.size:,} bytes, "
                f"found some that cannot be read: {error.strerror}"
            ) from error
