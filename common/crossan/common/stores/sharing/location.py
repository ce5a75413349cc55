"""What can be done with a store wherever it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from crossan.cache_schema.canonical import sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.segment import FileEntry, SegmentRecord
from crossan.common.files import LARGEST_METADATA

__all__ = ["Advance", "Location", "Readable", "arrived", "in_parallel"]

_LARGEST_FILE = 2 * 2**30
"""Bytes of any file of a store at most."""

Advance = Callable[[int], None]
"""Called with the number of bytes that have arrived."""


class Readable(Protocol):
    """Files under one address.

    Keys are paths inside the store.
    """

    @property
    def url(self) -> str:
        """The folder or address as people read it."""

    def read(self, key: str, largest: int = LARGEST_METADATA) -> bytes | None:
        """Return the bytes of a file, up to ``largest``, None where there is none."""


class Location(Readable, Protocol):
    """One store, wherever it is."""

    @property
    def is_read_back(self) -> bool:
        """Whether a check of what lies here reads all of it, as it may over a disk."""

    def newest_version(self) -> int:
        """Return the highest version that has a manifest, 0 for none."""

    def create(self, key: str, data: bytes) -> bool:
        """Create a file with all of ``data`` or not at all.

        False where the file exists already.
        """

    def holds(self, segment_id: str) -> bool:
        """Whether the location has the whole segment, in a manifest or not."""

    def has_part(self, segment_id: str) -> bool:
        """Whether anything of the segment is where published segments are."""

    def put_segment(
        self, record: SegmentRecord, data: bytes, source: Readable, advance: Advance
    ) -> int:
        """Copy a segment from another location and check its bytes against its record.

        Where an earlier copy was cut off, this one goes on.

        Parameters
        ----------
        record
            The content of ``data``.
        data
            The bytes of its ``segment.json``.

        Returns
        -------
        int
            How many files travelled, without those that had arrived before.
        """

    def unsound(self, record: SegmentRecord, source: Readable) -> list[FileEntry]:
        """Return the files of a segment that are not here as its record says.

        ``segment.json`` itself is not among them.

        Parameters
        ----------
        record
            The content of the segment's ``segment.json``.
        source
            Another location that has the segment.
        """

    def replace(self, key: str, data: bytes) -> None:
        """Put a file in the place of whatever is there."""

    def clear_folders(self) -> list[str]:
        """Move away what lies in the place of the store's folders and is none.

        Returns
        -------
        list of str
            Their names.
        """

    def settle(self) -> None:
        """Give up the claims on the segments that were put, as a manifest lists them now."""


def arrived(source: Readable, key: str, entry: FileEntry) -> bytes:
    """Return a file of a segment from another location, compared with its record.

    Raises
    ------
    StoreIntegrityError
        It is not there, or holds other bytes. Names the file.
    """
    if entry.size > _LARGEST_FILE:
        raise StoreIntegrityError(
            f"{source.url}/{key}: expected at most {_LARGEST_FILE:,} bytes, found {entry.size:,}"
        )
    # A server may send more than it should, and is not listened to for longer than one byte more.
    data = source.read(key, entry.size)
    where = f"{source.url}/{key}"
    if data is None:
        raise StoreIntegrityError(f"{where}: expected {entry.size:,} bytes, found no such file")
    if len(data) != entry.size or sha256_hex(data) != entry.sha256:
        is_folder = "://" not in source.url  # fsck works on folders only
        remedy = f"Run: crossan cache fsck {source.url}" if is_folder else None
        raise StoreIntegrityError(
            f"{where}: expected {entry.size:,} bytes with SHA-256 {entry.sha256}, "
            f"found {len(data):,} with {sha256_hex(data)}",
            remedy=remedy,
        )
    return data


def in_parallel(
    worker_count: int, put: Callable[[FileEntry], bool], entries: Sequence[FileEntry]
) -> int:
    """Put the files and return how many of them travelled."""
    with ThreadPoolExecutor(worker_count, thread_name_prefix="crossan-transfer") as pool:
        waiting = [pool.submit(put, entry) for entry in entries]
        try:
            return sum(done.result() for done in waiting)
        # The first error, or Ctrl-C, ends the transfer: files that have not begun need not travel.
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
