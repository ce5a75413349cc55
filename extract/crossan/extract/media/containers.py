"""Open a file as the container that its first bytes are of, whatever its name says.

FFmpeg left to itself probes, and an ``ffconcat`` or HLS text named .mp4 would
make it open other files. So the format is forced from an allow-list of magic
bytes, and the bytes come from a Python file object, which leaves no protocol to
follow.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import av
import av.error
from av.stream import Disposition

from crossan.extract.media.beginnings import find_container
from crossan.extract.media.faults import AbsentMedium, MediaError, MediaFault
from crossan.extract.media.media_files import open_bytes
from crossan.extract.media.open_medium import OpenMedium
from crossan.extract.media.wholeness import FilePart, is_cut

__all__ = [
    "READ_FAULTS",
    "first_stream",
    "media_error",
    "open_container",
    "packets_of",
]

READ_FAULTS = (av.error.FFmpegError, ValueError, IndexError, OverflowError)
"""What PyAV raises on hostile bytes.

`MediaError` and `AbsentMedium` are among them, as ValueErrors.
"""


_OF_A_CUT = {MediaFault.CORRUPT, MediaFault.NO_FRAMES, MediaFault.UNKNOWN_CODEC}
"""What a file may look like of which the end is missing."""


@contextmanager
def open_container(path: Path) -> Iterator[OpenMedium]:
    """Open a sound or video file for demuxing.

    FFmpeg's errors inside the block become `MediaError`.
    """
    with open_bytes(path) as file:
        size = os.fstat(file.fileno()).st_size
        beginning = find_container(FilePart(file.fileno(), 0, size))
        if beginning is None:
            raise MediaError(MediaFault.UNKNOWN_CONTAINER, "no known container begins like this")
        name, start = beginning
        part = FilePart(file.fileno(), start, size - start)
        try:
            # Titles in odd encodings are no reason to refuse a video that plays.
            with av.open(
                _From(file, start),
                mode="r",
                format=name,
                metadata_errors="ignore",
            ) as container:
                yield OpenMedium(container, name, part)
        except READ_FAULTS as error:
            raise media_error(error, name, is_cut=is_cut(part, name)) from None


class _From:
    """A file from a position on, as PyAV reads it."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file, self._start = file, start
        file.seek(start)

    def read(self, count: int) -> bytes:
        return self._file.read(count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = offset + self._start if whence == os.SEEK_SET else offset
        try:
            return self._file.seek(position, whence) - self._start
        except (OSError, OverflowError):
            # A hostile header sends FFmpeg anywhere, and it takes a negative number for an error.
            return -errno.EINVAL

    def tell(self) -> int:
        return self._file.tell() - self._start


def media_error(
    error: BaseException, name: str, *, is_cut: bool | None
) -> MediaError | AbsentMedium:
    """Return the typed fault for one of `READ_FAULTS`.

    Parameters
    ----------
    name
        Of the demuxer that was reading, for the detail.
    is_cut
        Whether the file ends before its container does, as `is_cut` tells.
    """
    if isinstance(error, AbsentMedium):
        return error
    if isinstance(error, MediaError) and not (is_cut and error.reason in _OF_A_CUT):
        return error
    if is_cut:
        return MediaError(MediaFault.TRUNCATED, f"{name}: the file lacks its end")
    fault = MediaFault.TRUNCATED if isinstance(error, av.error.EOFError) else MediaFault.CORRUPT
    return MediaError(fault, f"{name}: {_described(error)}")


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


def packets_of(medium: OpenMedium) -> Iterator[Any]:
    """Yield the packets of all streams, noting how far they come."""
    # A broken index or a torn end ends the streams, and what came before may suffice for a clip.
    try:
        for packet in medium.container.demux():
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None and (base := packet.time_base) is not None:
                end = (time + (packet.duration or 0)) * base.numerator / base.denominator
                medium.reached = max(medium.reached, end)
            yield packet
    except av.error.EOFError:
        return
    except av.error.InvalidDataError:
        medium.has_failed = True


def _described(error: BaseException) -> str:
    """Return what went wrong, in FFmpeg's fixed words or by the kind of the error."""
    # No other text of an error: it may quote the file.
    if isinstance(error, av.error.FFmpegError) and error.strerror is not None:
        return str(error.strerror)
    return type(error).__name__
