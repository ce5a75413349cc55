"""Rows of one chunk read from its file, every byte that is given out compared with its record."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import CRC_BYTES, ArrayLayout
from crossan.common.stores.checksums import crc32c
from crossan.common.stores.chunk_file import ChunkFile
from crossan.common.stores.chunks import check_chunk, check_crc, check_length, decode_chunk
from crossan.common.stores.gather import read_and_sum
from crossan.common.stores.values import bits_dtype

__all__ = ["RowSums", "load_file_rows", "read_checked", "read_file_rows"]

_SCRATCH_BYTES = 2 * 2**20
"""Read in one go where the rows cannot go straight to their place."""


class RowSums:
    """The CRC32C of a raw chunk up to each of its rows, taken when the whole chunk was checked.

    A CRC32C goes on from where another ended. So the rows that are read later are
    compared with what was checked by the two sums around them, and no row can change,
    on the disk or on its way from there, without being noticed.

    Attributes
    ----------
    up_to
        The sum of all rows before each, and of the whole chunk at the end, ``(chunk_items + 1,)``.
    """

    __slots__ = ("up_to",)

    def __init__(self, chunk: ChunkFile, descriptor: int) -> None:
        # An array and no list: four bytes a row. Not of NumPy, whose items are slow to take out.
        self.up_to = array("I", bytes(4 * (chunk.layout.chunk_items + 1)))
        crc = 0
        for first, rows in _blocks(chunk, descriptor):
            for row_number, row in enumerate(rows, first + 1):
                self.up_to[row_number] = crc = crc32c(row, crc)
        check_crc(crc, _tail(chunk, descriptor), chunk.entry, chunk.path)


def read_checked(chunk: ChunkFile, descriptor: int) -> bytes:
    """Compare a chunk with its recorded CRC32C, and return the bytes of a packed one.

    Of a raw chunk no more than a block is in memory at a time, and no bytes are returned.

    Raises
    ------
    StoreIntegrityError
        They differ.
    """
    if chunk.layout.codec == "raw":
        _check_length(chunk)
        crc = read_and_sum(descriptor, chunk.layout.chunk_bytes)
        check_crc(crc, _tail(chunk, descriptor), chunk.entry, chunk.path)
        return b""
    data = os.pread(descriptor, chunk.entry.size, 0)
    check_chunk(data[:-CRC_BYTES], data[-CRC_BYTES:], chunk.entry, chunk.path)
    return data


def read_file_rows(
    chunk: ChunkFile,
    descriptor: int,
    places: npt.NDArray[np.int32],
    targets: npt.NDArray[np.int64],
    columns: list[int] | None,
    out: npt.NDArray[Any],
    sums: RowSums | None,
) -> bool:
    """Copy rows of one chunk from its file.

    ``out[targets[i]] = chunk[places[i]]``.

    Parameters
    ----------
    chunk
        Which one; a packed one is decoded whole.
    descriptor
        Of its file.
    places
        ``(n,)`` rows of the chunk.
    targets
        ``(n,)`` where they go.
    columns
        Places among the kept layers, None for all.
    out
        C-contiguous ``(any, layer, dim)`` in the dtype on disk.
    sums
        Of the chunk, None for a packed one, whose bytes are compared with the record.

    Returns
    -------
    bool
        Whether all rows are those of ``sums``.

    Raises
    ------
    StoreIntegrityError
        The file ends before a row does, or is packed and not what is recorded.
    """
    layout = chunk.layout
    if sums is None:
        rows = decode_chunk(read_checked(chunk, descriptor), layout, chunk.path)[places]
        out[targets] = rows if columns is None else rows[:, columns]
        return True
    # Whole rows are read straight to where they go; some layers of them by way of scratch memory.
    is_whole = columns is None or columns == list(range(layout.layer_count))
    most = None if is_whole else max(1, _SCRATCH_BYTES // layout.row_bytes)
    row_bytes, flat, up_to = layout.row_bytes, out.reshape(-1).view(np.uint8), sums.up_to
    # Once for each row of most batches: what is not done here is a fifth of what a batch takes.
    for first, target, count in _runs(places, targets, most):
        if is_whole:
            part = flat[target * row_bytes : (target + count) * row_bytes]
        else:
            scratch = _scratch(layout, count)
            part = scratch.reshape(-1).view(np.uint8)
        if os.preadv(descriptor, [part.data], first * row_bytes) < len(part):
            _read_exactly(chunk, descriptor, part, first * row_bytes)
        # Here, while the bytes are still in the processor's cache.
        if crc32c(part, up_to[first]) != up_to[first + count]:
            return False
        if not is_whole:
            out[target : target + count] = scratch[:, columns]
    return True


def load_file_rows(
    chunk: ChunkFile,
    descriptor: int,
    places: npt.NDArray[np.int32],
    targets: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
) -> None:
    """Copy rows of one chunk from its file, which is read and checked in one go.

    Parameters
    ----------
    chunk, descriptor, out
        As for `read_file_rows`.
    places
        ``(n,)`` rows of the chunk, ascending.
    targets
        ``(n,)`` where they go, ascending.

    Raises
    ------
    StoreIntegrityError
        The file is not what is recorded; ``out`` may hold some of it.
    """
    if chunk.layout.codec != "raw":
        read_file_rows(chunk, descriptor, places, targets, None, out, None)
        return
    if places[0] == 0 and _is_run(places) and _is_run(targets):
        # A run of rows that becomes a run of items needs no scratch memory.
        _check_length(chunk)
        whole = out[targets[0] : targets[-1] + 1]
        crc = read_and_sum(descriptor, chunk.layout.chunk_bytes, whole)
        check_crc(crc, _tail(chunk, descriptor), chunk.entry, chunk.path)
        return
    crc = 0
    for first, block in _blocks(chunk, descriptor):
        crc = crc32c(block.reshape(-1), crc)
        start, stop = np.searchsorted(places, [first, first + len(block)])
        rows = block.view(bits_dtype(chunk.layout.stored_dtype))
        rows = rows.reshape(len(block), chunk.layout.layer_count, chunk.layout.dim)
        out[targets[start:stop]] = rows[places[start:stop] - first]
    check_crc(crc, _tail(chunk, descriptor), chunk.entry, chunk.path)


def _is_run(numbers: npt.NDArray[Any]) -> bool:
    # They ascend without repeats, so that the ends tell it.
    return bool(numbers[-1] - numbers[0] == len(numbers) - 1)


def _blocks(chunk: ChunkFile, descriptor: int) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield the bytes of a raw chunk, ``(rows, row bytes)``, with the number of the first row.

    All blocks share their memory.
    """
    _check_length(chunk)
    layout = chunk.layout
    count = max(1, _SCRATCH_BYTES // layout.row_bytes)
    scratch = np.empty((min(count, layout.chunk_items), layout.row_bytes), np.uint8)
    for first in range(0, layout.chunk_items, count):
        block = scratch[: layout.chunk_items - first]
        _read_exactly(chunk, descriptor, block.reshape(-1), first * layout.row_bytes)
        yield first, block


def _check_length(chunk: ChunkFile) -> None:
    """Refuse a raw chunk whose recorded size, which its file has, is not that of its rows."""
    check_length(chunk.entry.size - CRC_BYTES, chunk.layout, chunk.path)


def _scratch(layout: ArrayLayout, row_count: int) -> npt.NDArray[Any]:
    return np.empty((row_count, layout.layer_count, layout.dim), bits_dtype(layout.stored_dtype))


def _tail(chunk: ChunkFile, descriptor: int) -> bytes:
    return os.pread(descriptor, CRC_BYTES, chunk.layout.chunk_bytes)


def _runs(
    places: npt.NDArray[Any], targets: npt.NDArray[Any], most: int | None
) -> Iterator[tuple[int, int, int]]:
    """Return first place, first target and length of each run.

    It is cut where either does not go up by one, and after ``most``.
    """
    is_cut = (np.diff(places) != 1) | (np.diff(targets) != 1)
    starts = np.concatenate([[0], np.flatnonzero(is_cut) + 1])
    counts = np.diff(starts, append=len(places)).tolist()
    runs = zip(places[starts].tolist(), targets[starts].tolist(), counts, strict=True)
    return runs if most is None else _cut(runs, most)


def _cut(runs: Iterable[tuple[int, int, int]], most: int) -> Iterator[tuple[int, int, int]]:
    for first, target, count in runs:
        for done in range(0, count, most):
            yield first + done, target + done, min(most, count - done)


def _read_exactly(
    chunk: ChunkFile, descriptor: int, target: npt.NDArray[np.uint8], offset: int
) -> None:
    """Fill ``target`` from a chunk's file, also where the kernel gives less at once."""
    count = os.preadv(descriptor, [target.data], offset)
    while count < len(target):
        more = os.preadv(descriptor, [target[count:].data], offset + count)
        if more == 0:
            raise StoreIntegrityError(
                f"{chunk.path}: expected {len(target) - count:,} more bytes from "
                f"{offset + count:,} on, found the end"
            )
        count += more
