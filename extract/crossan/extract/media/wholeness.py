"""Tell by a container's own lengths whether a file lacks its end."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from crossan.extract.media.mpeg_frames import Readable, end_of_adts

__all__ = ["FilePart", "flac_samples", "has_all_tracks", "is_cut", "is_fragmented"]

_MOST_STEPS: Final = 200_000
"""Boxes, tags or frames that are walked; a sound of an hour has fewer."""
_UNKNOWN_SIZE: Final = 0x7FFF_0000
"""Writers to a pipe cannot know a sound's size and write a number like this or larger, or 0."""
_BOXES = set(b"ftyp moov mdat moof free skip wide mfra sidx styp uuid".split())
_SEGMENT: Final = b"\x18\x53\x80\x67"
_ADTS_HEADER_BYTES: Final = 7
_W64_DATA: Final = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_FLV_TAGS: Final = (8, 9, 18)
_OGG_END_OF_STREAM: Final = 4
_OGG_LARGEST_PAGE: Final = 65_307


@dataclass(frozen=True, slots=True)
class FilePart:
    """An open file from a position to its end, whose own position stays as it is."""

    descriptor: int
    start: int
    size: int
    """Bytes from the start to the end."""

    def at(self, position: int, count: int) -> bytes:
        """Return ``count`` bytes from a position, fewer at the end of the file."""
        # A damaged header may send its reader before the file, or farther than a file can reach.
        is_inside = 0 <= position < self.size
        return os.pread(self.descriptor, count, self.start + position) if is_inside else b""


def is_cut(file: Readable, name: str) -> bool | None:
    """Tell whether a file ends before its container does.

    Parameters
    ----------
    file
        From where the container begins.
    name
        Of FFmpeg's demuxer.

    Returns
    -------
    bool | None
        None where the container does not tell, as a stream of MPEG frames that ends
        with a whole one.
    """
    check = _CHECKS.get(name)
    return None if check is None else check(file)


def _boxes(file: Readable) -> bool | None:
    position, kind, kinds = 0, b"", set()
    for kind, end in _top_boxes(file):
        kinds.add(kind)
        if end > file.size:
            # Noise behind the last box names no known one.
            return True if kind in _BOXES else None
        position = end
    rest = file.at(position, 8)
    if kinds.isdisjoint((b"moov", b"moof")) or kind == b"moof":
        # Many cameras write the index last, and a fragment's samples come behind its own.
        return True
    if len(rest) == 8 and rest[:4] == b"\0\0\0\0":
        # A box without a length reaches to the end, wherever that is.
        return None
    return None if len(rest) == 8 else bool(rest)


def is_fragmented(file: Readable) -> bool:
    """Tell whether an MP4 file comes in fragments, whose lengths add up as they are read."""
    return any(kind == b"moof" for kind, _ in _top_boxes(file))


def has_all_tracks(file: Readable) -> bool:
    """Tell whether the header of an MP4 file, which lists its tracks, is whole."""
    return any(kind == b"moov" and end <= file.size for kind, end in _top_boxes(file))


def _top_boxes(file: Readable) -> Iterator[tuple[bytes, int]]:
    """Yield kind and end of the boxes of an MP4 file, of which the last may be cut."""
    position = 0
    for _ in range(_MOST_STEPS):
        head = file.at(position, 16)
        if len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:])
        if size < 8:
            return
        position += size
        yield kind, position


def flac_samples(file: Readable) -> tuple[int, int] | None:
    """Return how many samples per channel a FLAC file declares, and its sampling rate in Hz.

    None stands for a file that does not know it.
    """
    # Twenty bits of rate, eight of channels and sample size, and 36 of the count (RFC 9639, 8.2).
    about = int.from_bytes(file.at(18, 8))
    rate, count = about >> 44, about & (1 << 36) - 1
    return (count, rate) if count and rate else None


def _segment(file: Readable) -> bool | None:
    """Compare with the size of a Matroska segment, which only a finished file has."""
    head = file.at(0, 4096)
    header = _vint(head, 4)
    if header is None or header[0] is None:
        return None
    start = header[1] + header[0]
    length = _vint(head, start + 4) if head[start : start + 4] == _SEGMENT else None
    if length is None or length[0] is None:
        return True if start + 12 > file.size else None
    return length[1] + length[0] > file.size


def _vint(data: bytes, at: int) -> tuple[int | None, int] | None:
    """Return a number of variable length and where it ends (RFC 8794, section 4).

    The number is None where it stands for an unknown size.
    """
    if at >= len(data) or data[at] == 0:
        return None
    length = 9 - data[at].bit_length()
    bits = 7 * length
    value = int.from_bytes(data[at : at + length]) & (1 << bits) - 1
    return None if value == (1 << bits) - 1 else value, at + length


def _avi(file: Readable) -> bool | None:
    """Compare with the size of the list that has the packets; the index behind it may lack."""
    position = 12
    for _ in range(_MOST_STEPS):
        head = file.at(position, 12)
        if len(head) < 12:
            # Without that list, with the size of the whole file.
            position, head = 0, file.at(0, 8) + b"movi"
        size = int.from_bytes(head[4:8], "little")
        if head[8:12] == b"movi":
            return None if size in (0, 0xFFFF_FFFF) else position + 8 + size > file.size
        position += 8 + size + size % 2
    return None


def _wave(file: Readable) -> bool | None:
    order = ">" if file.at(0, 4) == b"RIFX" else "<"
    return _sized_chunk(file, order, b"data")


def _aiff(file: Readable) -> bool | None:
    return _sized_chunk(file, ">", b"SSND")


def _sized_chunk(file: Readable, order: str, wanted: bytes) -> bool | None:
    """Compare with the size of the chunk that has the samples."""
    position, large = 12, 0
    for _ in range(_MOST_STEPS):
        head = file.at(position, 8)
        if len(head) < 8:
            return None
        kind, size = struct.unpack(order + "4sI", head)
        if kind == b"ds64":
            # RF64 has sizes of 64 bits: of the file, then of the samples.
            large = int.from_bytes(file.at(position + 16, 8), "little")
        if kind == wanted:
            size = large if size == 0xFFFF_FFFF and large else size
            if size == 0 or (size >= _UNKNOWN_SIZE and not large):
                return None
            return position + 8 + size > file.size
        position += 8 + size + size % 2
    return None


def _wave64(file: Readable) -> bool | None:
    position = 40
    for _ in range(_MOST_STEPS):
        head = file.at(position, 24)
        # The size counts the 24 bytes before the content as well.
        size = int.from_bytes(head[16:24], "little")
        if len(head) < 24 or size < 24:
            return None
        if head[:16] == _W64_DATA:
            return position + size > file.size
        position += size + -size % 8
    return None


def _caf(file: Readable) -> bool | None:
    position = 8
    for _ in range(_MOST_STEPS):
        head = file.at(position, 12)
        size = int.from_bytes(head[4:12], signed=True)
        if len(head) < 12 or size < 0:
            # -1 reaches to the end.
            return None
        position += 12 + size
        if head[:4] == b"data":
            return position > file.size
    return None


def _au(file: Readable) -> bool | None:
    start, size = struct.unpack(">II", file.at(4, 8).ljust(8, b"\0"))
    return None if size in (0, 0xFFFF_FFFF) else start + size > file.size


def _ogg(file: Readable) -> bool | None:
    """Look at the last page, which says that it is the last."""
    start = max(0, file.size - _OGG_LARGEST_PAGE)
    tail = file.at(start, _OGG_LARGEST_PAGE)
    page = tail[tail.rfind(b"OggS") :]
    count = page[26] if len(page) > 26 else 0
    length = 27 + count + sum(page[27 : 27 + count])
    return len(page) < length or not page[5] & _OGG_END_OF_STREAM


def _flv(file: Readable) -> bool | None:
    position = 13
    for _ in range(_MOST_STEPS):
        head = file.at(position, 11)
        if not head or head[0] & 0x1F not in _FLV_TAGS:
            return None
        position += 11 + int.from_bytes(head[1:4])
        if position > file.size:
            return True
        position += 4
    return None


def _transport(file: Readable) -> bool | None:
    start, packet = (0, 188) if file.at(0, 1) == b"G" else (4, 192)
    rest = file.size % packet
    # The last packet begins as all do, which noise does not.
    is_part = file.at(file.size - rest + start, 1) == b"G" if rest > start else bool(rest)
    return True if is_part else None


def _program(file: Readable) -> bool | None:
    """Walk the packets of an MPEG program stream (ISO/IEC 13818-1, 2.5.3)."""
    position = 0
    for _ in range(_MOST_STEPS):
        head = file.at(position, 14)
        if not head:
            return None
        if head[:3] != b"\0\0\1"[: len(head)]:
            # Padding, or noise.
            return None
        if len(head) < 14:
            # No packet is that short but the end code.
            return head[3:4] != b"\xb9"
        if head[3] == 0xBA:
            position += 14 + (head[13] & 7) if head[4] >> 6 == 1 else 12
        else:
            position += 4 if head[3] == 0xB9 else 6 + int.from_bytes(head[4:6])
        if position > file.size:
            return True
    return None


def _frames(file: Readable) -> bool | None:
    """Look whether the last frame of AAC is whole; nothing says how many there were."""
    end = end_of_adts(file, _MOST_STEPS)
    # Of the last frame not even the whole header may be left.
    rest = file.at(end, 8)
    is_part = 0 < len(rest) < _ADTS_HEADER_BYTES and rest[0] == 0xFF
    return True if is_part or end > file.size else None


# MP3 is not among them: it plays from anywhere to anywhere, is cut and joined like that, and the
# number of frames that the first one may give is often that of another file.
_CHECKS: dict[str, Callable[[Readable], bool | None]] = {
    "mov": _boxes,
    "matroska": _segment,
    "avi": _avi,
    "wav": _wave,
    "aiff": _aiff,
    "w64": _wave64,
    "caf": _caf,
    "au": _au,
    "ogg": _ogg,
    "flv": _flv,
    "mpegts": _transport,
    "mpeg": _program,
    "aac": _frames,
}
