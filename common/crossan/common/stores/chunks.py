"""One chunk file of a segment, checked and decoded."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import CRC_BYTES, ArrayLayout
from crossan.cache_schema.segment import FileEntry
from crossan.common.stores.checksums import crc32c
from crossan.common.stores.packed_frames import check_frame
from crossan.common.stores.values import bits_dtype

__all__ = ["MappedChunk", "check_chunk", "check_crc", "check_length", "crc_tail", "decode_chunk"]

MappedChunk = mmap.mmap | bytes
"""The bytes of one chunk file."""


def crc_tail(crc: int) -> bytes:
    """Return the four bytes that end a chunk file."""
    return struct.pack("<I", crc)


def check_chunk(
    payload: Any,  # noqa: ANN401 - any buffer
    tail: bytes,
    entry: FileEntry,
    path: Path,
) -> None:
    """Compare a payload and the tail after it with the recorded CRC32C.

    Raises
    ------
    StoreIntegrityError
        They differ. Names the file.
    """
    check_crc(crc32c(payload), tail, entry, path)


def check_crc(crc: int, tail: bytes, entry: FileEntry, path: Path) -> None:
    """Compare the CRC32C of a payload, and the tail after it, with the recorded one.

    Raises
    ------
    StoreIntegrityError
        They differ. Names the file.
    """
    if crc != entry.crc32c or tail != crc_tail(crc):
        raise StoreIntegrityError(
            f"{path}: expected bytes with CRC32C {entry.crc32c or 0:08x}, found {crc:08x}, "
            f"and {int.from_bytes(tail, 'little'):08x} in its tail"
        )


def check_length(byte_count: int, layout: ArrayLayout, path: Path) -> None:
    """Refuse the payload of a raw chunk that is not as long as its rows.

    Raises
    ------
    StoreIntegrityError
        It has another length. Names the file.
    """
    if byte_count != layout.chunk_bytes:
        raise StoreIntegrityError(
            f"{path}: expected {layout.chunk_bytes:,} bytes of rows, found {byte_count:,}"
        )


def decode_chunk(mapped: MappedChunk, layout: ArrayLayout, path: Path) -> npt.NDArray[Any]:
    """Return the rows of one chunk, padding rows included.

    Check the bytes first (`check_chunk`): what they decode to is all that is checked here.

    Parameters
    ----------
    mapped
        The whole chunk file.
    layout
        Of the array the chunk belongs to.
    path
        Of the file, for messages.

    Returns
    -------
    numpy.ndarray
        ``(chunk_items, layer, dim)`` in the stored dtype, read-only; of a raw chunk a view of
        ``mapped``.

    Raises
    ------
    StoreIntegrityError
        It does not decode to exactly one chunk.
    """
    payload = memoryview(mapped)[:-CRC_BYTES]
    # The CRC32C was compared before, but whoever made a hostile chunk made that too.
    if layout.codec != "raw":
        check_frame(payload, layout, str(path))
        return _decode_packed(mapped, layout, path)
    check_length(len(payload), layout, path)
    rows = np.frombuffer(payload, dtype=bits_dtype(layout.stored_dtype))
    return rows.reshape(layout.chunk_items, layout.layer_count, layout.dim)


def _decode_packed(mapped: MappedChunk, layout: ArrayLayout, path: Path) -> npt.NDArray[Any]:
    # Importing zarr takes longer than opening a store, and a raw store never needs it.
    from crossan.common.stores.zarr_decoding import decode_with_zarr

    try:
        rows = decode_with_zarr(mapped, layout)
    except (RuntimeError, ValueError) as error:
        raise StoreIntegrityError(
            f"{path}: expected {layout.codec} data, found what does not decode: {error}"
        ) from error
    rows.flags.writeable = False
    return rows
