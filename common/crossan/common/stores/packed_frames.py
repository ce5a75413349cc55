"""What the headers of a packed chunk claim, read without decoding it.

A decoder allocates what the headers ask for, and a hostile one asks for more
than there is memory. So the headers are read here first.
"""

from __future__ import annotations

import struct

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import ArrayLayout

__all__ = ["check_frame"]

_BLOSC_HEADER_BYTES = 16
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_RUN = 1
"""The type of a block that holds one byte, to be repeated."""
_MOST_BLOCKS = 65_536
"""Far more than an encoder makes of 64 MiB; a frame of empty blocks would take minutes to walk."""


def check_frame(payload: memoryview, layout: ArrayLayout, where: str) -> None:
    """Refuse a packed payload that claims to decode to anything but one chunk.

    Parameters
    ----------
    payload
        Of the chunk file, without its CRC32C.
    layout
        Of the array the chunk belongs to; its codec is zstd or blosc.
    where
        The file, for messages.

    Raises
    ------
    StoreIntegrityError
        It claims another size, or is not exactly one frame of its codec.
    """
    claimed = _blosc_size(payload) if layout.codec == "blosc" else _zstd_size(payload)
    if claimed is None:
        raise StoreIntegrityError(
            f"{where}: expected one whole {layout.codec} frame, found {len(payload):,} other bytes"
        )
    if claimed != layout.chunk_bytes:
        raise StoreIntegrityError(
            f"{where}: expected to decode to {layout.chunk_bytes:,} bytes, found {claimed:,}"
        )


def _blosc_size(payload: memoryview) -> int | None:
    if len(payload) < _BLOSC_HEADER_BYTES:
        return None
    decoded_bytes, _, packed_bytes = struct.unpack_from("<3I", payload, 4)
    return int(decoded_bytes) if packed_bytes == len(payload) else None


def _zstd_size(payload: memoryview) -> int | None:
    """Return the size in the header of a zstd frame (RFC 8878, 3.1.1.1), None where it has none."""
    if len(payload) < 6 or payload[:4].tobytes() != _ZSTD_MAGIC:
        return None
    flags = payload[4]
    is_single_segment = flags & 0x20
    size_bytes = (1 if is_single_segment else 0, 2, 4, 8)[flags >> 6]
    start = 5 + (0 if is_single_segment else 1) + (0, 1, 2, 4)[flags & 3]
    if size_bytes == 0:
        return None
    end = _zstd_end(payload, start + size_bytes, checksum_bytes=4 if flags & 4 else 0)
    # numcodecs decodes frame after frame and adds up what they claim, so allow no second one.
    if end != len(payload):
        return None
    # A size of two bytes counts from 256, as the smaller ones fit into one byte.
    return int.from_bytes(payload[start : start + size_bytes], "little") + (
        256 if size_bytes == 2 else 0
    )


def _zstd_end(payload: memoryview, start: int, checksum_bytes: int) -> int | None:
    """Return where a frame ends whose first block begins at ``start`` (RFC 8878, 3.1.1.2)."""
    for _ in range(_MOST_BLOCKS):
        if start + 3 > len(payload):
            return None
        header = int.from_bytes(payload[start : start + 3], "little")
        is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
        start += 3 + (1 if kind == _ZSTD_RUN else size)
        if is_last:
            return start + checksum_bytes
    return None
