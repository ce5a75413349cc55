"""Walk the frames of MPEG audio and of AAC in ADTS, which follow each other without an index."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal, Protocol

__all__ = [
    "Codec",
    "Readable",
    "announced_seconds",
    "end_of_adts",
    "first_frame",
    "frame_bytes",
    "frames_from",
]

Codec = Literal["mp3", "aac"]
"""As FFmpeg calls their demuxers."""

_BITRATES_KBIT = {
    # By version (1, or 2 for both of the lower ones) and layer.
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the two bits of the version: 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5."""

_HEADER_BYTES = 6
_FRAMES_IN_A_ROW = 4
"""By chance two headers may fit each other, but not so many."""


class Readable(Protocol):
    """Bytes at any position of a file."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def at(self, position: int, count: int) -> bytes:
        """Return ``count`` bytes from a position, fewer at the end of the file."""


def frame_bytes(header: bytes) -> tuple[Codec, int] | None:
    """Return the codec of a frame and its length with the header, None for what is no header.

    Parameters
    ----------
    header
        The first six bytes.
    """
    if len(header) < _HEADER_BYTES or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    if header[1] & 0xF6 == 0xF0:
        length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        is_known_rate = header[2] >> 2 & 15 < 13
        return ("aac", length) if length > _HEADER_BYTES and is_known_rate else None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or rate == 3 or not 1 <= bitrate <= 14:
        return None
    is_first = version == 3
    bits = _BITRATES_KBIT[1 if is_first else 2, layer][bitrate - 1] * 1000
    hertz, padding = _RATES_HZ[version][rate], header[2] >> 1 & 1
    if layer == 1:
        return "mp3", (12 * bits // hertz + padding) * 4
    samples = 1152 if layer == 2 or is_first else 576
    return "mp3", samples // 8 * bits // hertz + padding


def frames_from(file: Readable, position: int) -> Iterator[tuple[int, Codec, int]]:
    """Yield position, codec and length of the frames in a row from a position.

    The last one may reach beyond the end of the file.
    """
    first: bytes | None = None
    while (frame := frame_bytes(header := file.at(position, _HEADER_BYTES))) is not None:
        # Version, layer and rate stay the same within a stream.
        fixed = bytes([header[1] & 0xFE, header[2] & 0x0C])
        if first is not None and fixed != first:
            return
        first = fixed
        yield position, *frame
        position += frame[1]


def end_of_adts(file: Readable, most_frames: int) -> int:
    """Return where the frames of AAC end, which may be beyond the end of the file.

    Other than `frames_from` it goes on where a part of another rate was joined.
    """
    end = 0
    for _ in range(most_frames):
        frame = frame_bytes(file.at(end, _HEADER_BYTES))
        if frame is None or frame[0] != "aac":
            break
        end += frame[1]
    return end


def first_frame(file: Readable, position: int, most_bytes: int) -> tuple[int, Codec] | None:
    """Return position and codec of the first of some frames in a row, behind bytes of any kind.

    Parameters
    ----------
    position
        Where to begin.
    most_bytes
        How many bytes may stand before it.
    """
    window = file.at(position, most_bytes)
    at = window.find(b"\xff")
    while at >= 0:
        if frame_bytes(window[at : at + _HEADER_BYTES]) is not None:
            row = list(islice(frames_from(file, position + at), _FRAMES_IN_A_ROW))
            start, codec, length = row[-1]
            # A short sound has fewer, and then they reach to its end.
            if len(row) == _FRAMES_IN_A_ROW or (len(row) > 1 and start + length == file.size):
                return position + at, codec
        at = window.find(b"\xff", at + 1)
    return None


def announced_seconds(file: Readable, position: int) -> float | None:
    """Return the length that the first frame of an MP3 stream gives in a Xing or Info header.

    None stands for a stream without one.
    """
    frame = file.at(position, 64)
    if frame_bytes(frame) is None:
        return None
    version, rate = frame[1] >> 3 & 3, frame[2] >> 2 & 3
    samples = 1152 if version == 3 else 576
    for name in (b"Xing", b"Info"):
        at = frame.find(name)
        # The lowest flag says that the number of frames follows.
        if at > 0 and len(frame) >= at + 12 and frame[at + 7] & 1:
            return int.from_bytes(frame[at + 8 : at + 12]) * samples / _RATES_HZ[version][rate]
    return None
