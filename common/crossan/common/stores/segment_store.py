"""The zarr store that digests and syncs what a segment's array is made of.

Importing this module imports zarr, so import it where it is used.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from zarr.abc.buffer import Buffer

from crossan.cache_schema.canonical import parse_object, pretty_bytes, sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import (
    CRC_BYTES,
    ArrayLayout,
    chunk_number,
    chunk_path,
    group_metadata,
)
from crossan.cache_schema.segment import ARRAY_METADATA, GROUP_METADATA, FileEntry
from crossan.common.files import write_durably
from crossan.common.refusals import make_folder
from crossan.common.stores.checksums import crc32c
from crossan.common.stores.chunks import crc_tail
from crossan.common.stores.fixed_store import FixedStore
from crossan.common.stores.packed_frames import check_frame

__all__ = ["SegmentStore"]

_IN_FLIGHT = 8
"""Chunks that may wait for the disk, up to 128 MiB of them."""


@dataclass(frozen=True, slots=True)
class _Write:
    """A chunk on its way to the disk."""

    number: int
    synced: Future[None]
    digested: Future[FileEntry]


class SegmentStore(FixedStore):
    """A new segment's folder, to which zarr-python writes one array.

    Each key is written once, whole, and in its own file: the two ``zarr.json`` and the chunks of
    ``layout``. A chunk is on its way to the disk when `set` returns, and on the disk when `finish`
    does. It is a context manager, which ends its threads.

    Parameters
    ----------
    folder
        Of the segment; must be there and hold no array yet.
    layout
        Of the array; nothing else may be written.
    """

    supports_writes: bool = True

    def __init__(self, folder: Path, layout: ArrayLayout) -> None:
        super().__init__(folder, read_only=False)
        self._layout = layout
        self._expected = {GROUP_METADATA: group_metadata(), ARRAY_METADATA: layout.to_zarr()}
        self._metadata: dict[str, bytes] = {}
        self._taken: set[int] = set()
        self._in_flight: deque[_Write] = deque()
        self._written: dict[int, FileEntry] = {}
        self._pool = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="crossan-write")

    def __exit__(self, *raised: object) -> None:
        """End the threads, and drop what they have not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.close()

    @property
    def keys(self) -> Collection[str]:
        """The metadata that was written, as chunks are never read back."""
        return self._metadata.keys()

    def read_whole(self, key: str) -> bytes:
        """Return the metadata at one of the keys."""
        return self._metadata[key]

    async def set(self, key: str, value: Buffer) -> None:
        """Take what zarr has encoded.

        Raises
        ------
        StoreIntegrityError
            Another key, a key for the second time, or other metadata than the layout's.
        ResourceError
            The disk is full.
        """
        number = chunk_number(key)
        if key in self._expected and key not in self._metadata:
            data = self._canonical(key, value.to_bytes())
            await asyncio.to_thread(self._write, key, data)
            self._metadata[key] = data
        elif number is not None and number < self._layout.chunk_count and number not in self._taken:
            self._taken.add(number)
            chunk = memoryview(value.as_buffer_like())
            # zarr goes on with the next chunk while two threads sync and digest this one.
            self._in_flight.append(
                _Write(
                    number,
                    self._pool.submit(self._write, key, chunk),
                    self._pool.submit(self._digest, key, chunk),
                )
            )
        else:
            raise StoreIntegrityError(
                f"{self.folder / key}: expected zarr to write {self._layout.chunk_count:,} chunks "
                "and their metadata once each, found it writing something else"
            )

    def wait_for_room(self) -> None:
        """Wait until one more chunk may be in flight.

        Raises
        ------
        StoreIntegrityError
            A chunk is not what the layout says.
        ResourceError
            The disk is full.
        """
        while len(self._in_flight) >= _IN_FLIGHT:
            self._settle()

    def finish(self) -> list[FileEntry]:
        """Wait until every file is on the disk.

        Folders are not synced.

        Returns
        -------
        list of FileEntry
            The group's metadata, the array's, and the chunks in order.

        Raises
        ------
        StoreIntegrityError
            A file was not written, or a chunk is not what the layout says.
        ResourceError
            The disk is full.
        """
        while self._in_flight:
            self._settle()
        missing = [key for key in self._expected if key not in self._metadata]
        missing += [
            chunk_path(n) for n in range(self._layout.chunk_count) if n not in self._written
        ]
        if missing:
            raise StoreIntegrityError(
                f"{self.folder}: expected zarr to write every file, "
                f"found {len(missing):,} missing, first: {missing[0]}"
            )
        metadata = [
            FileEntry(key, len(data), sha256_hex(data))
            for key, data in ((key, self._metadata[key]) for key in self._expected)
        ]
        return metadata + [self._written[number] for number in range(self._layout.chunk_count)]

    def _settle(self) -> None:
        oldest = self._in_flight.popleft()
        oldest.synced.result()
        self._written[oldest.number] = oldest.digested.result()

    def _canonical(self, key: str, data: bytes) -> bytes:
        """Return zarr's metadata in the spelling of every other file of a store.

        zarr adds an empty list of storage transformers, which means that there are none and which
        the readers of schema 1 refuse: left out, it means the same.
        """
        where = str(self.folder / key)
        content = parse_object(data, where)
        if content.get("storage_transformers") == []:
            del content["storage_transformers"]
        if content != self._expected[key]:
            raise StoreIntegrityError(
                f"{where}: expected zarr to write {self._expected[key]!r:.400}, "
                f"found {content!r:.400}"
            )
        return pretty_bytes(content)

    def _write(self, key: str, data: bytes | memoryview) -> None:
        path = self.folder / key
        make_folder(path.parent)
        write_durably(path, data)

    def _digest(self, key: str, chunk: memoryview) -> FileEntry:
        payload, tail, where = chunk[:-CRC_BYTES], bytes(chunk[-CRC_BYTES:]), str(self.folder / key)
        # A reader believes these digests, so hold what zarr's codecs made against our own sum.
        crc = crc32c(payload)
        if tail != crc_tail(crc):
            raise StoreIntegrityError(
                f"{where}: expected zarr to end the chunk with CRC32C {crc:08x}, found {tail.hex()}"
            )
        if self._layout.codec != "raw":
            check_frame(payload, self._layout, where)
        elif len(payload) != self._layout.chunk_bytes:
            raise StoreIntegrityError(
                f"{where}: expected zarr to write {self._layout.chunk_bytes:,} bytes of rows, "
                f"found {len(payload):,}"
            )
        return FileEntry(key, len(chunk), hashlib.sha256(chunk).hexdigest(), crc)
