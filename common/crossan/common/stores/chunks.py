"""One chunk file: its payload under one of three codecs, and the CRC32C of it in the last four bytes."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from crc32c import crc32c

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import CRC_BYTES, ArrayLayout
from crossan.cache_schema.segment import FileEntry
from crossan.common.stores.values import bits_dtype

__all__ = ["MappedChunk", "check_chunk", "crc_tail", "decode_chunk", "encode_chunk"]

MappedChunk = mmap.mmap | bytes
"""The bytes of one chunk file."""


def encode_chunk(rows: npt.NDArray[Any], layout: ArrayLayout) -> tuple[memoryview, int]:
    """Return the payload of a chunk file and its CRC32C, which follows it in the file.

    Parameters
    ----------
    rows
        A whole chunk, ``(chunk_items, layer, dim)``, in the stored dtype.
    layout
        Of the array the chunk belongs to.
    """
    payload = memoryview(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
    if layout.codec != "raw":
        payload = memoryview(bytes(_compressor(layout).encode(payload)))
    return payload, crc32c(payload)


def crc_tail(crc: int) -> bytes:
    """Return the four bytes that end a chunk file."""
    return struct.pack("<I", crc)


def check_chunk(payload: Any, tail: bytes, entry: FileEntry, path: Path) -> None:  # noqa: ANN401 - any buffer
    """Compare a payload and the tail after it with the recorded CRC32C.

    Raises
    ------
    StoreIntegrityError
        They differ. Names the file.
    """
    crc = crc32c(payload)
    if crc != entry.crc32c or tail != crc_tail(crc):
        raise StoreIntegrityError(
            f"{path}: expected bytes with CRC32C {entry.crc32c or 0:08x}, found {crc:08x}, "
            f"and {struct.unpack('<I', tail)[0]:08x} in its tail"
        )


def decode_chunk(mapped: MappedChunk, layout: ArrayLayout, path: Path) -> npt.NDArray[Any]:
    """Return a chunk, ``(chunk_items, layer, dim)`` in the stored dtype, read-only; a raw one is not copied.

    Parameters
    ----------
    mapped
        The whole chunk file.
    layout
        Of the array the chunk belongs to.
    path
        Of the file, for messages.

    Raises
    ------
    StoreIntegrityError
        It does not decode to exactly one chunk.
    """
    payload = memoryview(mapped)[:-CRC_BYTES]
    data = payload if layout.codec == "raw" else _decompress(payload, layout, path)
    if len(data) != layout.chunk_bytes:
        raise StoreIntegrityError(
            f"{path}: expected {layout.chunk_bytes:,} bytes of rows, found {len(data):,}"
        )
    rows = np.frombuffer(data, dtype=bits_dtype(layout.stored_dtype))
    return rows.reshape(layout.chunk_items, layout.layer_count, layout.dim)


def _compressor(layout: ArrayLayout) -> Any:  # noqa: ANN401 - numcodecs is untyped
    import numcodecs

    configuration = dict(layout.to_zarr()["codecs"][1]["configuration"])
    if layout.codec == "zstd":
        return numcodecs.Zstd(level=configuration["level"], checksum=configuration["checksum"])
    return numcodecs.Blosc(
        cname=configuration["cname"],
        clevel=configuration["clevel"],
        shuffle=numcodecs.Blosc.SHUFFLE,
        blocksize=configuration["blocksize"],
        typesize=configuration["typesize"],
    )


def _decompress(payload: memoryview, layout: ArrayLayout, path: Path) -> memoryview:
    # The claimed size is read before the decoder runs: it would allocate whatever a hostile header asks for.
    claimed = _blosc_size(payload) if layout.codec == "blosc" else _zstd_size(payload)
    if claimed != layout.chunk_bytes:
        raise StoreIntegrityError(
            f"{path}: expected to decode to {layout.chunk_bytes:,} bytes, found {claimed}"
        )
    out = np.empty(layout.chunk_bytes, dtype=np.uint8)
    try:
        _compressor(layout).decode(payload, out)
    except (RuntimeError, ValueError) as error:
        raise StoreIntegrityError(
            f"{path}: expected {layout.codec} data, found what does not decode: {error}"
        ) from error
    return memoryview(out.data).toreadonly()


def _blosc_size(payload: memoryview) -> int | None:
    return struct.unpack_from("<I", payload, 4)[0] if len(payload) >= 16 else None


def _zstd_size(payload: memoryview) -> int | None:
    if len(payload) < 6 or payload[:4].tobytes() != b"\x28\xb5\x2f\xfd":
        return None
    flags = payload[4]
    is_single_segment = flags & 0x20
    size_bytes = (1 if is_single_segment else 0, 2, 4, 8)[flags >> 6]
    start = 5 + (0 if is_single_segment else 1) + (0, 1, 2, 4)[flags & 3]
    if size_bytes == 0:
        return None
    return int.from_bytes(payload[start : start + size_bytes], "little") + (
        256 if size_bytes == 2 else 0
    )
