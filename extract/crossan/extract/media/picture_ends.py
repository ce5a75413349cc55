"""Tell by a picture's own lengths whether its file lacks the end."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from crossan.extract.media.plain_pictures import START_OF_SCAN, jpeg_segments

__all__ = ["lacks_end"]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_STRIP_TAGS: Final = ((273, 279), (324, 325))
"""Offsets and byte counts of a TIFF's strips, and of its tiles (TIFF 6.0)."""
_WIDTHS: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value, by the number of its type."""
_WHOLE_NUMBERS: Final = {3: "H", 4: "I"}
"""Letters of `struct` for the types that those tags have."""


def lacks_end(data: bytes) -> bool:
    """Tell whether a file that no decoder can read ends before its picture does.

    False where its format does not tell, and for a file of no known format.
    """
    for magic, check in _CHECKS:
        if data.startswith(magic):
            return check(data)
    return False


def _png(data: bytes) -> bool:
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if not kind.isalpha():
            # Damage, which tells nothing of the end.
            return False
        at += 12 + length
        if kind == b"IEND" and at <= len(data):
            return False
    return True


def _jpeg(data: bytes) -> bool:
    for marker, _, end in jpeg_segments(data):
        if marker == START_OF_SCAN:
            return data.find(b"\xff\xd9", end) < 0
    return True


def _riff(data: bytes) -> bool:
    is_webp = data[8:12] == b"WEBP"[: len(data[8:12])]
    return is_webp and 8 + int.from_bytes(data[4:8].ljust(4, b"\xff"), "little") > len(data)


def _gif(data: bytes) -> bool:
    return not data.rstrip(b"\0").endswith(b";")


def _bmp(data: bytes) -> bool:
    # The header counts the bytes of the file, and may leave it at 0.
    return len(data) < 26 or int.from_bytes(data[2:6], "little") > len(data)


def _tiff(data: bytes) -> bool:
    order = "<" if data[:1] == b"I" else ">"
    if len(data) < 8:
        return True
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    if at + 2 > len(data):
        return True
    (count,) = struct.unpack_from(f"{order}H", data, at)
    # The place of the next directory stands behind its entries.
    if at + 2 + 12 * count + 4 > len(data):
        return True
    tags: dict[int, list[int]] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, entry)
        start, size = entry + 8, number * _WIDTHS.get(kind, 0)
        if size > 4:
            (start,) = struct.unpack_from(f"{order}I", data, start)
        if start + size > len(data):
            return True
        if any(tag in pair for pair in _STRIP_TAGS) and kind in _WHOLE_NUMBERS:
            layout = f"{order}{number}{_WHOLE_NUMBERS[kind]}"
            tags[tag] = list(struct.unpack_from(layout, data, start))
    return any(
        start + size > len(data)
        for offsets, sizes in _STRIP_TAGS
        for start, size in zip(tags.get(offsets, []), tags.get(sizes, []), strict=False)
    )


_CHECKS: tuple[tuple[bytes, Callable[[bytes], bool]], ...] = (
    (_PNG, _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"RIFF", _riff),
    (b"GIF8", _gif),
    (b"BM", _bmp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
)
