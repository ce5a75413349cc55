"""Frames of the first seconds of a video, chosen by the time at which they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av.error
import numpy as np
import numpy.typing as npt

from crossan.extract.media.containers import check_span, first_stream, open_container, packets_of, promised_seconds
from crossan.extract.media.faults import MediaError, MediaFault
from crossan.extract.media.recipe import PIXEL_CAP, frame_times

__all__ = ["decode_video"]

Frames = npt.NDArray[np.uint8]


def decode_video(path: Path, *, frame_count: int) -> Frames:
    """Return the frames shown at evenly spread moments of the clip, shape ``(frame_count, height, width, 3)`` uint8.

    A frame is shown from its presentation time until the next one's; a clip
    shorter than three seconds shows its last frame until then. Only chosen
    frames are converted to RGB; the display matrix's rotation is applied.

    Raises
    ------
    FileNotFoundError
        Nothing lies at ``path``.
    MediaError
        The file cannot be read.
    """
    with open_container(path) as container:
        stream = first_stream(container, "video")
        if stream is None:
            raise MediaError(MediaFault.NO_VIDEO_STREAM, "the file has no video stream")
        _check_pixels(stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.options = {"max_pixels": str(2 * PIXEL_CAP)}  # before a later frame's size is allocated
        frames, shown_until, broken_packets = _decode(container, stream, frame_times(frame_count))
        promised = promised_seconds(container, stream, path)
    check_span(shown_until, promised, broken_packets)
    if not frames:
        raise MediaError(MediaFault.CORRUPT if broken_packets else MediaFault.NO_FRAMES, "no frame could be decoded")
    return np.stack(frames)


def _decode(
    container: Any,  # noqa: ANN401 - PyAV's types are C extensions
    stream: Any,  # noqa: ANN401
    moments: list[float],
) -> tuple[list[Frames], float, int]:
    """Return the chosen frames, how far the decoded frames reach in seconds, and how many packets broke."""
    chosen: list[Frames] = []
    shown, first, last, step = None, None, 0.0, 0.0
    broken = 0
    for packet in packets_of(container, stream):
        try:
            decoded = packet.decode()
        except av.error.FFmpegError:
            broken += 1
            continue
        for frame in decoded:
            time = float(frame.time) if frame.time is not None else last + step
            first = time if first is None else first
            now = time - first
            if shown is not None and now <= last:
                continue  # a frame that claims to be shown before one already shown
            due = sum(moment < now for moment in moments[len(chosen) :])
            if shown is not None and due:
                chosen += [_convert(shown)] * due
            if len(chosen) == len(moments):
                return _same_size(chosen), now, broken
            step, last, shown = (now - last) if shown is not None else _frame_seconds(stream), now, frame
    if shown is not None:
        chosen += [_convert(shown)] * (len(moments) - len(chosen))
    return _same_size(chosen), last + step, broken


def _frame_seconds(stream: Any) -> float:  # noqa: ANN401
    rate = stream.average_rate
    return float(1 / rate) if rate else 0.04


def _convert(frame: Any) -> Frames:  # noqa: ANN401
    _check_pixels(frame.width, frame.height)
    pixels: Frames = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _same_size(frames: list[Frames]) -> list[Frames]:
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise MediaError(MediaFault.CORRUPT, f"the frame size changes within the clip: {sorted(sizes)}")
    return frames


def _check_pixels(width: int, height: int) -> None:
    if width * height > PIXEL_CAP:
        raise MediaError(MediaFault.TOO_MANY_PIXELS, f"{width:,} x {height:,} pixels > {PIXEL_CAP:,}")
