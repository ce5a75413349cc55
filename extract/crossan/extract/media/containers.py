"""Tell a file's container by its first bytes, and open it as exactly that.

FFmpeg left to itself probes, and an ``ffconcat`` or HLS text named .mp4 would
make it open other files. So the format is forced from an allow-list of magic
bytes, and the bytes come from a Python file object, which leaves no protocol to
follow.
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

from crossan.common.regular import SpecialFileError, open_regular
from crossan.extract.media.faults import AbsentMedium, MediaError, MediaFault
from crossan.extract.media.recipe import CLIP_LENGTH_S

__all__ = [
    "READ_FAULTS",
    "OpenMedium",
    "check_span",
    "first_stream",
    "media_error",
    "not_a_file",
    "open_bytes",
    "open_container",
    "packets_of",
    "sniff_container",
]

READ_FAULTS = (av.error.FFmpegError, ValueError, IndexError, OverflowError)
"""What PyAV raises on hostile bytes.

`MediaError` and `AbsentMedium` are among them, as ValueErrors.
"""

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
"""Offset in the file, bytes that stand there, and FFmpeg's demuxer."""

_RIFF = {b"AVI ": "avi", b"WAVE": "wav"}


def sniff_container(head: bytes) -> str | None:
    """Return FFmpeg's demuxer for a file that begins with ``head``.

    None stands for a container that is not on the list.
    """
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    # A transport stream has its sync byte in each packet; one alone is just the letter G.
    if len(head) > _TS_PACKET and head[0] == 0x47 and head[_TS_PACKET] == 0x47:
        return "mpegts"
    # An MPEG audio sync word is the weakest of the signs, and so the last to be tried.
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
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
        A folder, pipe or device, or an empty file.
    """
    try:
        opened = open_regular(path)
    except SpecialFileError as error:
        raise not_a_file(error) from None
    with opened as file:
        if not file.read(1):
            raise MediaError(MediaFault.EMPTY_FILE, "expected media, found 0 bytes")
        file.seek(0)
        yield file


def not_a_file(error: SpecialFileError) -> MediaError:
    """Return the typed fault for a path that names something else than a file."""
    return MediaError(MediaFault.NOT_A_FILE, f"expected a regular file, found {error.kind}")


@dataclass(frozen=True, slots=True)
class OpenMedium:
    """A sound or video file that is being demuxed."""

    container: Any
    name: str
    """Of FFmpeg's demuxer."""
    growth: float = 1.0
    """Length that the file's header gives, as a multiple of its real one."""

    def promised_seconds(self, stream: Any) -> float | None:  # noqa: ANN401 - a C extension's
        """Return the duration that the container gives for a stream, in seconds.

        None stands for a container that gives none.
        """
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base) * self.growth
        if self.container.duration is not None:
            return float(self.container.duration / 1_000_000) * self.growth
        return None


@contextmanager
def open_container(path: Path) -> Iterator[OpenMedium]:
    """Open a sound or video file for demuxing.

    FFmpeg's errors inside the block become `MediaError`.
    """
    with open_bytes(path) as file:
        head = file.read(_SNIFFED_BYTES)
        name = sniff_container(head)
        if name is None:
            raise MediaError(
                MediaFault.UNKNOWN_CONTAINER, f"no known container begins with {head[:12]!r}"
            )
        file.seek(0)
        try:
            # Titles in odd encodings are no reason to refuse a video that plays.
            with av.open(file, mode="r", format=name, metadata_errors="ignore") as container:
                yield OpenMedium(container, name, _wave_growth(head, path))
        except READ_FAULTS as error:
            raise media_error(error, name) from None


def media_error(error: BaseException, name: str) -> MediaError | AbsentMedium:
    """Return the typed fault for one of `READ_FAULTS`.

    Parameters
    ----------
    name
        Of the demuxer that was reading, for the detail.
    """
    if isinstance(error, MediaError | AbsentMedium):
        return error
    fault = MediaFault.TRUNCATED if isinstance(error, av.error.EOFError) else MediaFault.CORRUPT
    return MediaError(fault, f"{name}: {_first_line(error)}")


def first_stream(container: Any, kind: Literal["audio", "video"]) -> Any:  # noqa: ANN401
    """Return the first stream of a kind, None where the file has none.

    It is set to one decoding thread.

    Raises
    ------
    MediaError
        FFmpeg knows no decoder for the stream.
    """
    for stream in getattr(container.streams, kind):
        # The cover picture of a sound file comes as a video stream.
        if not stream.disposition & Disposition.attached_pic:
            break
    else:
        return None
    if stream.codec_context is None:
        raise MediaError(MediaFault.UNKNOWN_CODEC, f"FFmpeg has no decoder for the {kind} stream")
    # There is a worker for each core already, and with one thread the frames come in one order.
    stream.codec_context.thread_count = 1
    stream.codec_context.thread_type = "NONE"
    return stream


def packets_of(container: Any, *streams: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield the packets of the streams."""
    # A broken index or a torn end ends the streams, and what came before may suffice for a clip.
    try:
        yield from container.demux(*streams)
    except (av.error.InvalidDataError, av.error.EOFError):
        return


def _wave_growth(head: bytes, path: Path) -> float:
    """Return the length that a WAVE file gives of itself, as a multiple of its real one.

    It is 1 for any other file.
    """
    # FFmpeg takes the duration of a WAVE file from the bytes it has, so a torn one looks whole.
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return 1.0
    size: int = struct.unpack_from("<I", head, 4)[0] + 8
    return 1.0 if size >= _UNKNOWN_SIZE else max(1.0, size / path.stat().st_size)


def check_span(decoded: float, promised: float | None, broken_packets: int) -> None:
    """Refuse a clip that is much shorter than its container promises.

    A file that was cut at a quarter still opens and gives some frames, and only
    this comparison notices.

    Parameters
    ----------
    decoded, promised
        Seconds; ``promised`` is None where the container promises nothing.
    broken_packets
        How many packets could not be decoded.

    Raises
    ------
    MediaError
        Less than half of the promised clip could be decoded.
    """
    if promised is not None and decoded < _LOST_SHARE * min(promised, CLIP_LENGTH_S):
        fault = MediaFault.CORRUPT if broken_packets else MediaFault.TRUNCATED
        raise MediaError(
            fault, f"the container promises {promised:.2f} s, {decoded:.2f} s could be decoded"
        )


def _first_line(error: BaseException) -> str:
    # strerror has FFmpeg's own words, without the path.
    text = getattr(error, "strerror", None) or str(error)
    return (text.splitlines() or [type(error).__name__])[0]
