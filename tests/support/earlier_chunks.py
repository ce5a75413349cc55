"""Chunk files as crossan wrote them before zarr-python did: by hand, and the oracle for what it writes now."""

from __future__ import annotations

import google_crc32c
import numcodecs
import numpy as np


def earlier_payload(rows: np.ndarray, codec: str) -> bytes:
    """Return the payload of a chunk file.

    Parameters
    ----------
    rows
        A whole chunk, ``(chunk_items, layer, dim)``, in the stored dtype.
    codec
        ``raw``, ``zstd`` or ``blosc``.
    """
    raw = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
    if codec == "raw":
        return bytes(raw)
    if codec == "zstd":
        return bytes(numcodecs.Zstd(level=5, checksum=False).encode(raw))
    packer = numcodecs.Blosc(
        cname="zstd", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE, blocksize=0, typesize=rows.itemsize
    )
    return bytes(packer.encode(raw))


def sealed(payload: bytes) -> bytes:
    """Return a chunk file: the payload and its CRC32C."""
    return payload + google_crc32c.value(payload).to_bytes(4, "little")
