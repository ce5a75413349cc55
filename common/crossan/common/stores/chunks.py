"""One chunk file: its payload under one of three codecs, and the CRC32C of it in the last four bytes."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import CRC_BYTES, ArrayLayout
from crossan.cache_schema.segment import FileEntry
from crossan.common.stores.files import require_plain
from crossan.common.stores.values import bits_dtype

__all__ = ["crc32c", "encode_chunk", "read_chunk"]


def crc32c(data: Any) -> int:  # noqa: ANN401 - any contiguous buffer
    """Return the CRC32C (Castagnoli) of a contiguous buffer."""
    return int(google_crc32c.value(np.frombuffer(data, dtype=np.uint8)))  # it takes bytes and arrays, but no memoryview


def encode_chunk(rows: npt.NDArray[Any], layout: ArrayLayout) -> tuple[bytes, int]:
    """Return the bytes of a chunk file and the CRC32C of its payload.

    Parameters
    ----------
    rows
        A whole chunk, ``(chunk_items, layer, dim)``, in the stored dtype.
    layout
        Of the array the chunk belongs to.
    """
    payload = rows.tobytes()
    if layout.codec != "raw":
        payload = bytes(_compressor(layout).encode(payload))
    crc = crc32c(payload)
    return payload + struct.pack("<I", crc), crc


def read_chunk(segment: Path, entry: FileEntry, layout: ArrayLayout) -> npt.NDArray[Any]:
    """Return a chunk, ``(chunk_items, layer, dim)`` in the stored dtype, read-only, its CRC32C checked.

    A raw chunk is mapped, not copied.

    Raises
    ------
    StoreIntegrityError
        The file is not there, has another size, or holds other bytes than ``entry`` records. Names the file.
    """
    path = require_plain(segment, entry.path)
    size = path.stat().st_size if path.is_file() else -1
    if size != entry.size:
        found = "no such file" if size < 0 else f"{size:,} bytes"
        raise StoreIntegrityError(f"{path}: expected {entry.size:,} bytes, found {found}")
    if size <= CRC_BYTES:
        raise StoreIntegrityError(f"{path}: expected a payload before the CRC32C, found {size} bytes")
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    view = memoryview(mapped)
    payload, tail = view[:-CRC_BYTES], view[-CRC_BYTES:]
    crc = crc32c(payload)
    if crc != entry.crc32c or tail != struct.pack("<I", crc):
        raise StoreIntegrityError(
            f"{path}: expected bytes with CRC32C {entry.crc32c or 0:08x}, found {crc:08x}, "
            f"and {struct.unpack('<I', tail)[0]:08x} in its tail"
        )
    data = payload if layout.codec == "raw" else _decompress(payload, layout, path)
    if len(data) != layout.chunk_bytes:
        raise StoreIntegrityError(f"{path}: expected {layout.chunk_bytes:,} bytes of rows, found {len(data):,}")
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
        raise StoreIntegrityError(f"{path}: expected to decode to {layout.chunk_bytes:,} bytes, found {claimed}")
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
    return int.from_bytes(payload[start : start + size_bytes], "little") + (256 if size_bytes == 2 else 0)
