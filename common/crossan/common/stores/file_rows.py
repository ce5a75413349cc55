"""Rows of one chunk read from its file, run by run, without mapping it."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.stores.chunks import decode_chunk
from crossan.common.stores.mapping import ChunkFile
from crossan.common.stores.values import bits_dtype

__all__ = ["read_file_rows"]

_SCRATCH_BYTES = 2 * 2**20
"""Read in one go where the rows cannot go straight to their place."""


def read_file_rows(
    chunk: ChunkFile,
    descriptor: int,
    places: npt.NDArray[np.int32],
    targets: npt.NDArray[np.int64],
    columns: list[int] | None,
    out: npt.NDArray[Any],
) -> None:
    """Copy rows of one chunk from its file.

    ``out[targets[i]] = chunk[places[i]]``. The bytes are not checked here.

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

    Raises
    ------
    StoreIntegrityError
        The file ends before a row does, or does not decode.
    """
    layout = chunk.layout
    if layout.codec != "raw":
        rows = decode_chunk(os.pread(descriptor, chunk.entry.size, 0), layout, chunk.path)[places]
        out[targets] = rows if columns is None else rows[:, columns]
        return
    # Whole rows are read straight to where they go; some layers of them by way of scratch memory.
    is_whole = columns is None or columns == list(range(layout.layer_count))
    most = None if is_whole else max(1, _SCRATCH_BYTES // layout.row_bytes)
    for start, stop in _runs(places, targets, most):
        first = int(places[start])
        if is_whole:
            into = out[targets[start] : targets[start] + stop - start]
            _read_exactly(descriptor, into, first * layout.row_bytes, chunk.path)
        else:
            scratch = np.empty(
                (stop - start, layout.layer_count, layout.dim), bits_dtype(layout.stored_dtype)
            )
            _read_exactly(descriptor, scratch, first * layout.row_bytes, chunk.path)
            out[targets[start] : targets[start] + stop - start] = scratch[:, columns]


def _runs(
    places: npt.NDArray[Any], targets: npt.NDArray[Any], most: int | None
) -> list[tuple[int, int]]:
    """Cut where either does not go up by one, and after ``most``."""
    is_cut = (np.diff(places) != 1) | (np.diff(targets) != 1)
    bounds = [0, *(np.flatnonzero(is_cut) + 1).tolist(), len(places)]
    runs = list(pairwise(bounds)) if len(places) else []
    if most is None:
        return runs
    return [
        (cut, min(cut + most, stop)) for start, stop in runs for cut in range(start, stop, most)
    ]


def _read_exactly(descriptor: int, into: npt.NDArray[Any], offset: int, path: Path) -> None:
    target = memoryview(into.reshape(-1).view(np.uint8).data)
    while target:
        count = os.preadv(descriptor, [target], offset)
        if count == 0:
            raise StoreIntegrityError(
                f"{path}: expected {len(target):,} more bytes from {offset:,} on, found the end"
            )
        target, offset = target[count:], offset + count
