"""Chunk files as rows in memory, side by side in one tensor where the page rule allows it."""

from __future__ import annotations

import ctypes
import mmap
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import CRC_BYTES, ArrayLayout
from crossan.cache_schema.segment import FileEntry
from crossan.common.files import require_plain
from crossan.common.stores.chunks import MappedChunk, check_chunk, decode_chunk
from crossan.common.stores.values import bits_dtype

__all__ = ["ChunkFile", "Rows", "map_chunks"]

_PROT_NONE, _PROT_READ = 0, 1
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS, _MAP_NORESERVE = (
    0x01,
    0x02,
    0x10,
    0x20,
    0x4000,
)
_FAILED = ctypes.c_void_p(-1).value
_MOST_STITCHED = 32_768
"""Chunks mapped side by side at most, half of the mappings that the kernel allows a process."""


class ChunkFile:
    """One chunk file of a version, as its segment records it."""

    __slots__ = ("entry", "layout", "segment")

    def __init__(self, segment: Path, entry: FileEntry, layout: ArrayLayout) -> None:
        self.segment, self.entry, self.layout = segment, entry, layout

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.segment / self.entry.path

    def open(self) -> int:
        """Return a descriptor of the file, its kind and size checked.

        Raises
        ------
        StoreIntegrityError
            A link, no file, another size, or no payload at all.
        """
        require_plain(self.segment, self.entry.path)
        # A pipe in the place of the file would block the open for ever, but for O_NONBLOCK.
        try:
            descriptor = os.open(
                self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreIntegrityError(
                f"{self.path}: expected {self.entry.size:,} bytes, found no such file"
            ) from error
        status = os.fstat(descriptor)
        problem = None
        if not stat.S_ISREG(status.st_mode):
            problem = "expected a file, found something else"
        elif status.st_size != self.entry.size:
            problem = f"expected {self.entry.size:,} bytes, found {status.st_size:,} bytes"
        elif status.st_size <= CRC_BYTES:
            problem = f"expected a payload before the CRC32C, found {status.st_size} bytes"
        if problem is not None:
            os.close(descriptor)
            raise StoreIntegrityError(f"{self.path}: {problem}")
        return descriptor


class Rows(Protocol):
    """The rows of all chunks in their order, padding rows included."""

    def chunk(self, number: int) -> npt.NDArray[Any]:
        """Return one chunk as stored, ``(chunk_items, layer, dim)``.

        Its bytes may not have been checked.
        """

    def check(self, number: int) -> None:
        """Compare a chunk's bytes with its recorded CRC32C.

        Raises
        ------
        StoreIntegrityError
            They differ.
        """

    @property
    def tensor(self) -> npt.NDArray[Any] | None:
        """All rows as one array ``(row, layer, dim)``.

        None where the chunks could not be mapped side by side.
        """


def map_chunks(chunks: Sequence[ChunkFile]) -> Rows:
    """Map the chunk files of a version.

    Every size is checked here, bytes when `Rows.check` is called. Whatever happens to the files'
    names afterwards, the rows stay readable.

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


class _Region:
    """A reserved range of addresses, given back when nothing refers to it any more."""

    def __init__(self, byte_count: int) -> None:
        self.byte_count = byte_count
        # Python's own mmap cannot map a second file into a range that it holds: MAP_FIXED does.
        self._map = ctypes.CDLL(None, use_errno=True).mmap
        self._map.restype = ctypes.c_void_p
        self._map.argtypes = [
            *(ctypes.c_void_p, ctypes.c_size_t),
            *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long),
        ]
        self._unmap = ctypes.CDLL(None, use_errno=True).munmap
        self._unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.address: int | None = None
        flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE
        self.address = self._called(None, byte_count, _PROT_NONE, flags, -1)

    def place(self, offset: int, byte_count: int, descriptor: int) -> None:
        """Map the start of a file at an offset, both multiples of the page size."""
        assert self.address is not None
        self._called(
            self.address + offset, byte_count, _PROT_READ, _MAP_SHARED | _MAP_FIXED, descriptor
        )

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "typestr": "|u1",
            "shape": (self.byte_count,),
            "data": (self.address, True),
        }

    # NumPy keeps the region that an array was made of, so this runs after the last view is gone.
    def __del__(self) -> None:
        if self.address is not None:
            self._unmap(self.address, self.byte_count)

    def _called(
        self, address: int | None, byte_count: int, protection: int, flags: int, descriptor: int
    ) -> int:
        mapped = self._map(address, byte_count, protection, flags, descriptor, 0)
        if mapped is None or mapped == _FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return int(mapped)


class _Stitched:
    """Raw chunks mapped side by side, so that the store is one tensor."""

    def __init__(self, chunks: Sequence[ChunkFile]) -> None:
        self._chunks = chunks
        starts = np.cumsum([0, *(chunk.layout.chunk_bytes for chunk in chunks)])
        region = _Region(int(starts[-1]))
        self._tails = []
        for chunk, start in zip(chunks, starts[:-1], strict=True):
            descriptor = chunk.open()
            try:
                region.place(int(start), chunk.layout.chunk_bytes, descriptor)
                self._tails.append(os.pread(descriptor, CRC_BYTES, chunk.layout.chunk_bytes))
            finally:
                os.close(descriptor)
        # All chunks have rows of one shape: `read_segment` has compared each with the identity.
        layout = chunks[0].layout
        flat = np.asarray(region).view(bits_dtype(layout.stored_dtype))
        self.tensor: npt.NDArray[Any] | None = flat.reshape(-1, layout.layer_count, layout.dim)
        self._first_rows = starts // layout.row_bytes

    def chunk(self, number: int) -> npt.NDArray[Any]:
        assert self.tensor is not None
        return self.tensor[self._first_rows[number] : self._first_rows[number + 1]]

    def check(self, number: int) -> None:
        chunk = self._chunks[number]
        check_chunk(self.chunk(number), self._tails[number], chunk.entry, chunk.path)


class _Scattered:
    """Chunks mapped one by one, being packed or of bytes that no page divides."""

    tensor = None

    def __init__(self, chunks: Sequence[ChunkFile]) -> None:
        self._chunks = chunks
        self._mapped: list[MappedChunk] = []
        self._decoded: dict[int, npt.NDArray[Any]] = {}
        for chunk in chunks:
            descriptor = chunk.open()
            try:
                self._mapped.append(
                    mmap.mmap(descriptor, chunk.entry.size, access=mmap.ACCESS_READ)
                )
            finally:
                os.close(descriptor)

    def chunk(self, number: int) -> npt.NDArray[Any]:
        if number not in self._decoded:
            chunk = self._chunks[number]
            self._decoded[number] = decode_chunk(self._mapped[number], chunk.layout, chunk.path)
        return self._decoded[number]

    def check(self, number: int) -> None:
        chunk, mapped = self._chunks[number], self._mapped[number]
        view = memoryview(mapped)
        check_chunk(view[:-CRC_BYTES], bytes(view[-CRC_BYTES:]), chunk.entry, chunk.path)
