"""Chunks read through zarr-python, which sees no byte that was not checked before.

zarr 3.1.6 shows a missing chunk as fill values, and a flipped bit as data where no checksum
stands in its way. So what it reads comes from stores that refuse both.
Importing this module imports zarr, so import it where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.buffer import Buffer as AnyBuffer
from zarr.storage import StorePath

from crossan.cache_schema.canonical import sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import ARRAY_NAME, CRC_BYTES, ArrayLayout
from crossan.cache_schema.segment import ITEM_INDEX, FileEntry, SegmentRecord
from crossan.common.files import read_regular
from crossan.common.stores.chunk_file import ChunkFile
from crossan.common.stores.chunks import check_chunk
from crossan.common.stores.fixed_store import FixedStore
from crossan.common.stores.packed_frames import check_frame

__all__ = ["VerifiedStore", "plain_array"]


def plain_array(segment: Path, record: SegmentRecord, layout: ArrayLayout) -> zarr.Array[Any]:
    """Return a segment's rows as a read-only zarr array over its files.

    Parameters
    ----------
    segment
        Its folder.
    record
        Its ``segment.json``.
    layout
        Of its array.
    """
    store = VerifiedStore(segment, record, layout)
    return zarr.Array.from_dict(StorePath(store, ARRAY_NAME), layout.to_zarr())


class VerifiedStore(FixedStore):
    """A segment's group, read-only, each file compared with its record when it is read.

    Parameters
    ----------
    folder
        Of the segment.
    record
        Its ``segment.json``, checked.
    layout
        Of its array, checked.
    """

    supports_writes: bool = False

    def __init__(self, folder: Path, record: SegmentRecord, layout: ArrayLayout) -> None:
        super().__init__(folder, read_only=True)
        self._layout = layout
        # zarr warns of anything in a group that is none of its own.
        self._entries = {entry.path: entry for entry in record.files if entry.path != ITEM_INDEX}

    @property
    def keys(self) -> Collection[str]:
        """Paths of zarr's own files among those that ``segment.json`` lists."""
        return self._entries.keys()

    async def set(self, key: str, value: AnyBuffer) -> None:
        """Refuse to write."""
        raise ValueError(
            f"{self.folder / key}: expected to be read only, found {len(value):,} bytes to write"
        )

    def read_whole(self, key: str) -> bytes:
        """Return a file's bytes, compared with the record.

        Raises
        ------
        StoreIntegrityError
            It is not there or holds other bytes. Names the file.
        """
        entry = self._entries[key]
        if entry.crc32c is None:
            return self._read_metadata(entry)
        chunk = ChunkFile(self.folder, entry, self._layout)
        with chunk.opened() as descriptor:
            data = os.pread(descriptor, entry.size, 0)
        payload = memoryview(data)[:-CRC_BYTES]
        check_chunk(payload, data[-CRC_BYTES:], entry, chunk.path)
        if self._layout.codec != "raw":
            check_frame(payload, self._layout, str(chunk.path))
        return data

    def _read_metadata(self, entry: FileEntry) -> bytes:
        data = read_regular(self.folder, entry.path)
        if sha256_hex(data) != entry.sha256:
            raise StoreIntegrityError(
                f"{self.folder / entry.path}: expected SHA-256 {entry.sha256}, "
                f"found {sha256_hex(data)}"
            )
        return data
