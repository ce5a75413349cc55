"""Which container a file is, by its first bytes, and opening it as exactly that.

FFmpeg left to itself probes: an ``ffconcat`` or HLS text named .mp4 would make
it open other files. So the format is forced from an allow-list of magic bytes,
and the bytes come from a Python file object: there is no protocol to follow.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import av
import av.error
from av.stream import Disposition

from crossan.extract.media.faults import AbsentMedium, MediaError, MediaFault
from crossan.extract.media.recipe import CLIP_LENGTH_S

__all__ = [
    "READ_FAULTS",
    "OpenMedium",
    "check_span",
    "first_stream",
    "media_error",
    "open_bytes",
    "open_container",
    "packets_of",
    "sniff_container",
]

READ_FAULTS = (av.error.FFmpegError, ValueError, IndexError, OverflowError)
"""What PyAV raises on hostile bytes, and our own `MediaError` and `AbsentMedium`."""

_SNIFFED_BYTES = 512
_TS_PACKET = 188
_UNKNOWN_SIZE = 0x7FFF_0000
"""Writers to a pipe cannot know a WAVE file's size and write a number like this or larger."""

_LOST_SHARE = 0.5
"""A clip with less than this share of what its container promises is a torn file."""

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
    (0, b"ID3", "mp3"),
    (0, b"FLV\x01", "flv"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"\x00\x00\x01\xb3", "mpegvideo"),
)
"""Offset, bytes, FFmpeg's demuxer."""

_RIFF = {b"AVI ": "avi", b"WAVE": "wav"}


def sniff_container(head: bytes) -> str | None:
    """Return FFmpeg's demuxer name for a file that begins with ``head``, None where it is not on the list."""
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if len(head) > _TS_PACKET and head[0] == 0x47 and head[_TS_PACKET] == 0x47:
        return "mpegts"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # an MPEG audio sync word
        return "aac" if head[1] & 0x06 == 0 else "mp3"
    return None


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file that is not empty.

    Raises
    ------
    FileNotFoundError
        Nothing lies at ``path``.
    MediaError
        A folder or device, or an empty file.
    """
    if path.exists() and not path.is_file():
        raise MediaError(MediaFault.NOT_A_FILE, "expected a regular file")
    with path.open("rb") as file:
        if not file.read(1):
            raise MediaError(MediaFault.EMPTY_FILE, "expected media, found 0 bytes")
        file.seek(0)
        yield file


@dataclass(frozen=True, slots=True)
class OpenMedium:
    """A sound or video file that is being demuxed."""

    container: Any
    name: str
    """Of FFmpeg's demuxer."""
    growth: float = 1.0
    """How many times longer than it is the file says it is."""

    def promised_seconds(self, stream: Any) -> float | None:  # noqa: ANN401 - PyAV's types are C extensions
        """Return the duration the container gives for a stream, in seconds, None where it gives none."""
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base) * self.growth
        if self.container.duration is not None:
            return float(self.container.duration / 1_000_000) * self.growth
        return None


@contextmanager
def open_container(path: Path) -> Iterator[OpenMedium]:
    """Open a sound or video file for demuxing; FFmpeg's errors inside the block become `MediaError`."""
    with open_bytes(path) as file:
        head = file.read(_SNIFFED_BYTES)
        name = sniff_container(head)
        if name is None:
            raise MediaError(
                MediaFault.UNKNOWN_CONTAINER, f"no known container begins with {head[:12]!r}"
            )
        file.seek(0)
        try:
            with av.open(file, mode="r", format=name, metadata_errors="ignore") as container:
                yield OpenMedium(container, name, _wave_growth(head, path))
        except READ_FAULTS as error:
            raise media_error(error, name) from None


def media_error(error: BaseException, name: str) -> MediaError | AbsentMedium:
    """Return the typed fault for one of `READ_FAULTS`, met while a container of this name was read."""
    if isinstance(error, MediaError | AbsentMedium):
        return error
    fault = MediaFault.TRUNCATED if isinstance(error, av.error.EOFError) else MediaFault.CORRUPT
    return MediaError(fault, f"{name}: {_first_line(error)}")


def first_stream(container: Any, kind: Literal["audio", "video"]) -> Any:  # noqa: ANN401 - PyAV's types are C extensions
    """Return the first stream of a kind, set to one decoding thread; None where there is none.

    A cover picture inside a sound file is no video.

    Raises
    ------
    MediaError
        FFmpeg knows no decoder for the stream.
    """
    found = [
        stream
        for stream in getattr(container.streams, kind)
        if not stream.disposition & Disposition.attached_pic
    ]
    if not found:
        return None
    if found[0].codec_context is None:
        raise MediaError(MediaFault.UNKNOWN_CODEC, f"FFmpeg has no decoder for the {kind} stream")
    found[0].codec_context.thread_count = 1
    found[0].codec_context.thread_type = "NONE"
    return found[0]


def packets_of(container: Any, *streams: Any) -> Iterator[Any]:  # noqa: ANN401 - PyAV's types are C extensions
    """Yield the streams' packets; a broken index or torn end ends the streams instead of the job."""
    try:
        yield from container.demux(*streams)
    except (av.error.InvalidDataError, av.error.EOFError):
        return


def _wave_growth(head: bytes, path: Path) -> float:
    """Return how many times longer than it is a WAVE file says it is, 1 for any other file.

    FFmpeg takes a WAVE file's duration from the bytes that are there, so a torn one looks whole.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return 1.0
    size: int = struct.unpack_from("<I", head, 4)[0] + 8
    return 1.0 if size >= _UNKNOWN_SIZE else max(1.0, size / path.stat().st_size)


def check_span(decoded: float, promised: float | None, broken_packets: int) -> None:
    """Raise `MediaError` where far fewer seconds could be decoded than the container promises.

    A file cut at a quarter still opens and gives some frames; only this comparison notices.
    """
    if promised is not None and decoded < _LOST_SHARE * min(promised, CLIP_LENGTH_S):
        fault = MediaFault.CORRUPT if broken_packets else MediaFault.TRUNCATED
        raise MediaError(
            fault, f"the container promises {promised:.2f} s, {decoded:.2f} s could be decoded"
        )


def _first_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)  # FFmpeg's own words, without the path
    return (text.splitlines() or [type(error).__name__])[0]
