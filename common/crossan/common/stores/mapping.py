"""Chunk files as rows in memory, side by side in one tensor where the page rule allows it."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import CRC_BYTES
from crossan.common.stores.addresses import AddressRange, chunk_starts, may_have_gaps
from crossan.common.stores.chunk_file import ChunkFile, FileState, MissingChunkError
from crossan.common.stores.chunks import MappedChunk, decode_chunk
from crossan.common.stores.file_rows import read_checked
from crossan.common.stores.values import bits_dtype

__all__ = ["Rows", "map_chunks"]

_MOST_STITCHED = 32_768
"""Chunks mapped side by side at most, half of the mappings that the kernel allows a process."""


class Rows(Protocol):
    """The rows of all chunks in their order, padding rows included."""

    @property
    def states(self) -> Sequence[FileState]:
        """What each mapped file was when it was mapped."""

    def chunk(self, number: int) -> npt.NDArray[Any]:
        """Return one chunk as stored, ``(chunk_items, layer, dim)``.

        Its bytes may not have been checked. Where its file has become shorter, touching them
        ends the process.
        """

    def check(self, number: int) -> bool:
        """Compare a chunk's file with its recorded CRC32C, False where it is not the mapped file.

        The file is read: bytes of a mapping cannot be touched without danger, but are the same.

        Raises
        ------
        StoreIntegrityError
            They differ.
        """

    def copy(self, number: int, places: Sequence[int] | None) -> int:
        """Return a descriptor of a copy of the mapped file, for where the file is gone.

        It holds the rows at ``places``, where they are in the file; None for all, and the tail.

        Raises
        ------
        StoreIntegrityError
            The mapped file has become shorter.
        """

    @property
    def tensor(self) -> npt.NDArray[Any] | None:
        """All rows as one array ``(row, layer, dim)``, those of chunk n from `first_rows[n]` on.

        None where the chunks could not be mapped into one range. There may be gaps between two
        chunks: touching a row of a gap ends the process.
        """

    @property
    def first_rows(self) -> npt.NDArray[np.int64]:
        """Number of each chunk's first row, ascending, ``(chunk,)``."""


def map_chunks(chunks: Sequence[ChunkFile]) -> Rows:
    """Map the chunk files of a version.

    Every size is checked here, bytes when `Rows.check` is called. Where a file is removed or
    replaced afterwards, its rows stay readable.

    Raises
    ------
    StoreIntegrityError
        A file is not there or has another size.
    """
    # Mappings begin at a page, so each chunk must end at one; the CRC32C after it stays outside.
    is_even = all(
        chunk.layout.codec == "raw"
        and chunk.layout.chunk_bytes % mmap.PAGESIZE == 0
        and chunk.entry.size == chunk.layout.chunk_bytes + CRC_BYTES
        for chunk in chunks
    )
    return (
        _Stitched(chunks)
        if chunks and is_even and len(chunks) <= _MOST_STITCHED
        else _Scattered(chunks)
    )


class _Stitched:
    """Raw chunks mapped into one range of addresses, so that the store is one tensor."""

    def __init__(self, chunks: Sequence[ChunkFile]) -> None:
        self._chunks = chunks
        layouts = [chunk.layout for chunk in chunks]
        starts, byte_count = chunk_starts(layouts, has_gaps=may_have_gaps())
        region = AddressRange(byte_count)
        self._tails = []
        self.states: list[FileState] = []
        for chunk, start in zip(chunks, starts, strict=True):
            with chunk.opened() as descriptor:
                region.place(start, chunk.layout.chunk_bytes, descriptor)
                self._tails.append(os.pread(descriptor, CRC_BYTES, chunk.layout.chunk_bytes))
                self.states.append(FileState.of(os.fstat(descriptor)))
        # All chunks have rows of one shape: `read_segment` has compared each with the identity.
        layout = layouts[0]
        flat = np.asarray(region).view(bits_dtype(layout.stored_dtype))
        self.tensor: npt.NDArray[Any] | None = flat.reshape(-1, layout.layer_count, layout.dim)
        self.first_rows = np.array(starts, np.int64) // layout.row_bytes

    def chunk(self, number: int) -> npt.NDArray[Any]:
        assert self.tensor is not None
        first = self.first_rows[number]
        return self.tensor[first : first + self._chunks[number].layout.chunk_items]

    def check(self, number: int) -> bool:
        return _read_if_mapped(self._chunks[number], self.states[number]) is not None

    def copy(self, number: int, places: Sequence[int] | None) -> int:
        payload = self.chunk(number).reshape(-1).view(np.uint8)
        return _copied(payload, self._chunks[number], places, self._tails[number])


class _Scattered:
    """Chunks mapped one by one, being packed or of bytes that no page divides."""

    tensor = None

    def __init__(self, chunks: Sequence[ChunkFile]) -> None:
        self._chunks = chunks
        self._mapped: list[MappedChunk] = []
        self._decoded: dict[int, npt.NDArray[Any]] = {}
        counts = [chunk.layout.chunk_items for chunk in chunks]
        self.first_rows = np.cumsum([0, *counts], dtype=np.int64)[: len(counts)]
        self.states: list[FileState] = []
        for chunk in chunks:
            with chunk.opened() as descriptor:
                self._mapped.append(
                    mmap.mmap(descriptor, chunk.entry.size, access=mmap.ACCESS_READ)
                )
                self.states.append(FileState.of(os.fstat(descriptor)))

    def chunk(self, number: int) -> npt.NDArray[Any]:
        if number not in self._decoded:
            chunk = self._chunks[number]
            self._decoded[number] = decode_chunk(self._mapped[number], chunk.layout, chunk.path)
        return self._decoded[number]

    def check(self, number: int) -> bool:
        chunk = self._chunks[number]
        data = _read_if_mapped(chunk, self.states[number])
        if data and number not in self._decoded:
            # Decoded from the very bytes that were checked, and kept from then on.
            self._decoded[number] = decode_chunk(data, chunk.layout, chunk.path)
        return data is not None

    def copy(self, number: int, places: Sequence[int] | None) -> int:
        chunk = self._chunks[number]
        is_packed = chunk.layout.codec != "raw"
        whole = np.frombuffer(self._mapped[number], np.uint8)
        return _copied(whole, chunk, None if is_packed else places)


def _read_if_mapped(chunk: ChunkFile, mapped: FileState) -> bytes | None:
    """Compare a chunk's file with its record, None where another file than ``mapped`` lies there.

    Returns the bytes of a packed chunk, and none of a raw one.
    """
    try:
        with chunk.opened() as descriptor:
            if FileState.of(os.fstat(descriptor)).file != mapped.file:
                return None
            return read_checked(chunk, descriptor)
    except MissingChunkError:
        return None


def _copied(
    mapped: npt.NDArray[np.uint8],
    chunk: ChunkFile,
    places: Sequence[int] | None,
    tail: bytes = b"",
) -> int:
    """Copy a mapped file, or rows of it, into memory that has a descriptor."""
    row_bytes = chunk.layout.row_bytes
    starts = [0] if places is None else [row * row_bytes for row in places]
    byte_count = len(mapped) if places is None else row_bytes
    descriptor = os.memfd_create("crossan-chunk", os.MFD_CLOEXEC)
    try:
        for start in starts:
            stop = start + byte_count
            # The kernel answers with an error where the file has become shorter: touching its
            # pages ourselves would end the process.
            while start < stop:
                start += os.pwrite(descriptor, mapped[start:stop].data, start)
        os.pwrite(descriptor, tail, len(mapped))
    except OSError as error:
        os.close(descriptor)
        if error.errno != errno.EFAULT:
            raise
        raise StoreIntegrityError(
            f"{chunk.path}: expected {chunk.entry.size:,} bytes, found that the file was cut"
            " short and removed"
        ) from error
    return descriptor
