"""Take a picture's metadata away, which viewers do not look at and libraries fail on.

A text, a profile or a thumbnail may be broken, far too large or cut off while
every pixel is there. What remains is what fixes the pixels, and the EXIF block
with the orientation, where it is wanted.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final

__all__ = ["START_OF_SCAN", "ended_jpegs", "jpeg_segments", "without_metadata"]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
_EXIF: Final = b"Exif\0\0"

_WEBP_PIXELS = (b"VP8 ", b"VP8L", b"ANMF")
_WEBP_KEPT = (*_WEBP_PIXELS, b"VP8X", b"ALPH", b"ANIM")
_WEBP_METADATA_FLAGS = 0x2C
"""Bits of VP8X that announce a colour profile, EXIF and XMP."""

START_OF_SCAN = 0xDA
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
"""JPEG markers without a length."""
_SEGMENT = re.compile(rb"\xff[\xc0-\xcf\xda-\xdd\xe0-\xef\xfe]")
_METADATA = {*range(0xE0, 0xF0), 0xFE}
"""All APPn and comments."""
_COLOURS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
"""Those that say what the colours mean: marker, first bytes, and least length of the body."""
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}

_END_OF_IMAGE = b"\xff\xd9"
_RESTARTS = [bytes([0xFF, 0xD0 + number]) for number in range(8)] * 2
_JPEG_ENDS = (
    # A decoder takes zeros for what is missing. So these have something else, and restarts, as a
    # decoder that waits for one looks at nothing before it.
    _END_OF_IMAGE,
    *(
        b"".join(bits * 32 + restart for restart in _RESTARTS) + _END_OF_IMAGE
        for bits in (b"\x5a\xa5\x33\xcc", b"\xa5\x5a\xcc\x33", b"\xff\0\xff\0\xf0\x0f")
    ),
)


def without_metadata(data: bytes) -> Iterator[bytes]:
    """Yield the picture with nothing but its pixels and EXIF, then with its pixels alone.

    Nothing is yielded for a format whose metadata stays where it is.
    """
    if data.startswith(_PNG):
        plain = _plain_png
    elif data.startswith(_JPEG):
        plain = _plain_jpeg
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        plain = _plain_webp
    else:
        return
    yield plain(data, keeps_exif=True)
    yield plain(data, keeps_exif=False)


def _plain_png(data: bytes, *, keeps_exif: bool) -> bytes:
    parts, at = [_PNG], len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        is_ancillary = bool(kind[0] & 0x20)
        if end > len(data) or not kind.isalpha():
            # The pixels may go on in a chunk whose length is wrong, but not in a torn text.
            parts.append(b"" if is_ancillary else data[at:])
            break
        body = data[at + 8 : at + 8 + length]
        is_sound = struct.pack(">I", zlib.crc32(kind + body)) == data[end - 4 : end]
        if not is_ancillary or (kind == b"eXIf" and is_sound and keeps_exif):
            parts.append(data[at:end])
        at = end
    return b"".join(parts)


def _plain_webp(data: bytes, *, keeps_exif: bool) -> bytes:
    parts: list[bytes] = []
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
        if kind == b"VP8X" and len(body) > 0:
            lost = _WEBP_METADATA_FLAGS & ~(0x08 if keeps_exif else 0)
            body = bytes([body[0] & ~lost]) + body[1:]
        # A torn chunk stays as it is, for the decoder to refuse, unless the first picture is there.
        is_torn = len(body) < length
        if is_torn and any(part[:4] in _WEBP_PIXELS for part in parts):
            break
        if kind in _WEBP_KEPT or (kind == b"EXIF" and keeps_exif):
            parts.append(struct.pack("<4sI", kind, length) + body + b"\0" * (length % 2))
    content = b"WEBP" + b"".join(parts)
    return struct.pack("<4sI", b"RIFF", len(content)) + content


def _plain_jpeg(data: bytes, *, keeps_exif: bool) -> bytes:
    parts, end = [data[:2]], 2
    for marker, at, end in jpeg_segments(data):
        name, shortest = _COLOURS.get(marker, (b"", 0))
        is_colour = (
            marker in _COLOURS and data.startswith(name, at + 4) and end - at >= 4 + shortest
        )
        is_exif = marker == 0xE1 and data.startswith(_EXIF, at + 4)
        if marker not in _METADATA or is_colour or (is_exif and keeps_exif):
            parts.append(data[at:end])
        if marker == START_OF_SCAN:
            break
    return b"".join([*parts, data[end:]])


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, beginning and end of each segment of a JPEG, a scan's header included.

    What stands between two segments is passed over.
    """
    at = 2
    while (match := _SEGMENT.search(data, at)) is not None:
        marker, at = data[match.start() + 1], match.start()
        if marker in _STANDALONE:
            at += 2
            continue
        if at + 4 > len(data):
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        yield marker, at, end
        at = end


def ended_jpegs(data: bytes) -> list[bytes]:
    """Return a JPEG that lacks its end with several ends, where its scans are all there.

    Where all give the same pixels, all of them were there.
    """
    if not data.startswith(_JPEG) or not _has_all_scans(data):
        return []
    # A marker may have begun.
    return [data.rstrip(b"\xff") + end for end in _JPEG_ENDS]


def _has_all_scans(data: bytes) -> bool:
    """Tell whether the scans bring all coefficients of all components, to their last bit."""
    missing: set[tuple[int, int]] = set()
    is_progressive = has_frame = False
    for marker, at, end in jpeg_segments(data):
        body = data[at + 4 : end]
        if marker in _FRAMES and len(body) >= 6:
            has_frame, is_progressive = True, marker in _PROGRESSIVE
            identities = body[6::3][: body[5]]
            missing = {(identity, k) for identity in identities for k in range(64)}
        elif marker == START_OF_SCAN and len(body) >= 1 and len(body) >= 4 + 2 * body[0]:
            components = body[1 : 1 + 2 * body[0] : 2]
            first, last, approximation = body[1 + 2 * body[0] :][:3]
            if not is_progressive:
                first, last, approximation = 0, 63, 0
            # The lower half has how many low bits are still to come.
            if approximation & 15 == 0:
                missing -= {(c, k) for c in components for k in range(first, last + 1)}
    return has_frame and not missing
