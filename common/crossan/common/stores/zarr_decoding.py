"""Packed chunks decoded by zarr-python.

Importing this module imports zarr, so import it where it is used.
"""

from __future__ import annotations

import mmap
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.buffer.cpu import Buffer
from zarr.storage import MemoryStore, StorePath

from crossan.cache_schema.layout import ArrayLayout

__all__ = ["decode_with_zarr"]


def decode_with_zarr(mapped: mmap.mmap | bytes, layout: ArrayLayout) -> npt.NDArray[Any]:
    """Decode one chunk whose bytes and headers were checked.

    Parameters
    ----------
    mapped
        The whole chunk file.
    layout
        Of the array the chunk belongs to.

    Returns
    -------
    numpy.ndarray
        ``(chunk_items, layer, dim)`` in the stored dtype.

    Raises
    ------
    RuntimeError, ValueError
        zarr's codecs refuse the bytes, or they decode to another size.
    """
    # The array in the file ends before the padding rows; one of exactly this chunk has them.
    one_chunk = replace(layout, item_count=layout.chunk_items)
    store = MemoryStore({"c/0/0/0": Buffer.from_bytes(memoryview(mapped))}, read_only=True)
    return np.asarray(zarr.Array.from_dict(StorePath(store), one_chunk.to_zarr())[:])
