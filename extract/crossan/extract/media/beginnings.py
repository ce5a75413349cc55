"""Tell a file's container by its first bytes, behind tags and padding where there are any."""

from __future__ import annotations

from crossan.extract.media.mpeg_frames import Readable, first_frame

__all__ = ["end_of_tags", "find_container", "sniff_container"]

_SNIFFED_BYTES = 512
_TS_PACKET, _TIMED_TS_PACKET = 188, 192

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (4, b"free", "mov"),
    (4, b"skip", "mov"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"OggS", "ogg"),
    (0, b"fLaC", "flac"),
    (0, b"FLV\x01", "flv"),
    (0, b"caff\0\x01", "caf"),
    (0, b".snd", "au"),
    (0, b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0", "w64"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"\x00\x00\x01\xb3", "mpegvideo"),
)
"""Offset in the file, bytes that stand there, and FFmpeg's demuxer."""

_FORMS = {
    (b"RIFF", b"AVI "): "avi",
    (b"RIFF", b"WAVE"): "wav",
    (b"RIFX", b"WAVE"): "wav",
    (b"RF64", b"WAVE"): "wav",
    (b"BW64", b"WAVE"): "wav",
    (b"FORM", b"AIFF"): "aiff",
    (b"FORM", b"AIFC"): "aiff",
}
"""Bytes 0 to 4 and 8 to 12."""

_MOST_TAGS = 16
_MOST_ZEROS = 1 << 20
_MOST_NOISE = 1 << 16
"""Bytes without meaning that may stand before MPEG audio."""


def sniff_container(head: bytes) -> str | None:
    """Return FFmpeg's demuxer for a file that begins with ``head``.

    None stands for a container that is not on the list.
    """
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    if (form := _FORMS.get((head[:4], head[8:12]))) is not None:
        return form
    # A transport stream has its sync byte in each packet; one alone is just the letter G.
    for start, packet in ((0, _TS_PACKET), (4, _TIMED_TS_PACKET)):
        if len(head) > start + packet and head[start] == 0x47 and head[start + packet] == 0x47:
            return "mpegts"
    # An MPEG audio sync word is the weakest of the signs, and so the last to be tried.
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0x06 == 0 else "mp3"
    return None


def find_container(file: Readable) -> tuple[str, int] | None:
    """Return FFmpeg's demuxer for a file, and where in it the container begins.

    ID3 and APE tags are passed over. Before MPEG audio and AAC zeros and a little
    noise are, too, where frames follow each other behind them.
    """
    position = end_of_tags(file, 0)
    name = sniff_container(file.at(position, _SNIFFED_BYTES))
    if name is not None:
        return name, position
    start = end_of_tags(file, position + _count_zeros(file, position))
    frame = first_frame(file, start, _MOST_NOISE)
    if frame is not None:
        return frame[1], frame[0]
    # A tag whose length is wrong is no reason to give up: a demuxer looks for frames as well.
    return ("mp3", 0) if position else None


def end_of_tags(file: Readable, position: int) -> int:
    """Return where the ID3 and APE tags end that begin at a position."""
    for _ in range(_MOST_TAGS):
        head = file.at(position, 32)
        if head[:3] == b"ID3" and len(head) >= 10:
            # Four times seven bits; a flag announces a footer of ten bytes.
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            position += 10 + size + (10 if head[5] & 0x10 else 0)
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            position += 32 + int.from_bytes(head[12:16], "little")
        else:
            break
    return position


def _count_zeros(file: Readable, position: int) -> int:
    zeros = file.at(position, _MOST_ZEROS)
    return len(zeros) - len(zeros.lstrip(b"\0"))
