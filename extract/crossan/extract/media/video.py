"""Read frames of the first seconds of a video, chosen by when they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av.error
import av.packet

from crossan.extract.media.choosing import FrameChooser, Frames, check_pixels
from crossan.extract.media.containers import READ_FAULTS, first_stream
from crossan.extract.media.faults import MediaError, MediaFault
from crossan.extract.media.open_medium import OpenMedium
from crossan.extract.media.recipe import PIXEL_CAP, frame_times
from crossan.extract.media.skipping import SkipPlan, can_skip, is_past, plan_skips
from crossan.extract.media.tracks import Decoded, TrackOpener, read_tracks_at, value_of

__all__ = ["decode_video", "open_frames"]


def decode_video(path: Path, *, frame_count: int) -> Frames:
    """Return the frames shown at evenly spread moments of the clip.

    A frame is shown from its presentation time until that of the next one. A clip
    shorter than three seconds shows its last frame until then. The rotation of
    the display matrix is applied. Only chosen frames are converted to RGB, and
    only they and the frames that they refer to are decoded, where the stream says
    which those are.

    Shapes
    ------
    Result: ``(frame_count, height, width, 3)``, uint8.

    Raises
    ------
    FileNotFoundError
        Nothing lies at ``path``.
    MediaError
        The file cannot be read.
    """
    (result,) = read_tracks_at(path, [open_frames(path, frame_count)])
    return value_of(result).values


def open_frames(path: Path, frame_count: int, *, skips: bool = True) -> TrackOpener:
    """Return what opens the clip's frames in a file that is open.

    Parameters
    ----------
    path
        The file, for reading it anew where skipping frames turns out not to be safe.
    frame_count
        Frames of the clip.
    skips
        Whether to leave frames undecoded that are neither chosen nor referred to.
    """
    return lambda medium: _FrameTrack(medium, path, frame_count, skips=skips)


class _FrameTrack:
    """A video stream on the way to its clip.

    Packets are held back until a `SkipPlan` can be made of them. What comes out
    is compared with the plan. Where the two differ, on a damaged stream, the file
    is read again with every frame decoded.
    """

    def __init__(self, medium: OpenMedium, path: Path, frame_count: int, *, skips: bool) -> None:
        self.stream = first_stream(medium.container, "video")
        if self.stream is None:
            if not medium.has_all_streams:
                raise MediaError(MediaFault.TRUNCATED, "the file lacks its end, and has no picture")
            raise MediaError(MediaFault.NO_VIDEO_STREAM, "the file has no video stream")
        self._context = self.stream.codec_context
        check_pixels(self._context.width, self._context.height)
        self._set_options()
        self._medium, self._path, self._moments = medium, path, frame_times(frame_count)
        self._held: list[Any] | None = None
        self._last_ticks = 0.0
        if skips and can_skip(self.stream, medium.name):
            self._held = []
            self._last_ticks = self._moments[-1] / self.stream.time_base
        self._chooser = self._new_chooser()
        self._plan: SkipPlan | None = None
        self._is_doubtful = False
        self._broken_packets = self._torn_packets = 0

    @property
    def is_done(self) -> bool:
        return self._is_doubtful or self._chooser.is_complete

    def feed(self, packet: Any) -> None:  # noqa: ANN401 - PyAV's types are C extensions
        self._torn_packets += packet.is_corrupt
        if self._held is None:
            self._decode(packet)
        else:
            self._held.append(packet)
            # An empty packet is the demuxer's last word: the file ends before the clip does.
            if packet.size == 0 or is_past(self._held, self._last_ticks):
                self._plan = plan_skips(self.stream, self._held, self._moments)
                self._release()

    def finish(self) -> Decoded:
        # Packets are still held where a file ends without a flush.
        self._release()
        if self._is_doubtful:
            opener = open_frames(self._path, len(self._moments), skips=False)
            (result,) = read_tracks_at(self._path, [opener])
            return value_of(result)
        self._chooser.end()
        frames = self._chooser.frames()
        self._check()
        if frames is None:
            fault = MediaFault.CORRUPT if self._broken_packets else MediaFault.NO_FRAMES
            raise MediaError(fault, "no frame could be decoded")
        return Decoded(frames, self._chooser.notes(self._plan.times if self._plan else None))

    def _check(self) -> None:
        """Refuse a clip whose end is missing, unless nothing shows that it was longer."""
        # A decoder makes something up for a torn packet, which may stand amid whole frames.
        if not (self._chooser.is_ended or self._torn_packets) and self._chooser.is_complete:
            return
        seconds, slack = self._chooser.shown_until, self._chooser.usual_step / 2
        self._medium.check_whole(self.stream, seconds, slack=slack, torn_packets=self._torn_packets)
        self._medium.check_share(self.stream, seconds, self._broken_packets)

    def _decode(self, packet: Any) -> None:  # noqa: ANN401
        try:
            decoded = packet.decode()
        except av.error.FFmpegError:
            self._broken_packets += 1
            return
        for frame in decoded:
            if not self.is_done:
                self._chooser.see(frame)

    def _release(self) -> None:
        held, self._held = self._held or (), None
        if held and self._plan is not None:
            self._follow(self._plan)
            return
        for packet in held:
            if not self.is_done:
                self._decode(packet)

    def _follow(self, plan: SkipPlan) -> None:
        """Decode what the plan needs, and doubt the result where it is not as planned."""
        # Damage that the decoder would patch up is a reason to doubt as well.
        self._set_options(err_detect="explode")
        shown: list[int | None] = []
        try:
            for packet, is_needed in plan.packets:
                # NONREF decodes a frame that others refer to and drops the others.
                self._context.skip_frame = "DEFAULT" if is_needed else "NONREF"
                self._see_all(packet.decode(), shown)
            self._see_all(self._context.decode(_flushing(self.stream)), shown)
            goes_on = self._chooser.is_complete
            self._chooser.end()
        except READ_FAULTS:
            self._is_doubtful = True
            return
        given = [pts for pts in shown if pts is not None]
        is_in_order = len(given) == len(shown) and given == sorted(set(given))
        decoded = (self._chooser.chosen_pts, self._chooser.first_pts, goes_on)
        planned = (plan.chosen_pts, plan.first_pts, plan.goes_on)
        self._is_doubtful = not is_in_order or decoded != planned

    def _see_all(self, frames: list[Any], shown: list[int | None]) -> None:
        for frame in frames:
            shown.append(None if frame.is_corrupt else frame.pts)
            self._chooser.see(frame)

    def _new_chooser(self) -> FrameChooser:
        # A stream without a rate is taken for 25 frames per second.
        rate = self.stream.average_rate
        return FrameChooser(self._moments, float(1 / rate) if rate else 0.04)

    def _set_options(self, **options: str) -> None:
        """Set the decoder's options, which it reads with its first packet."""
        # A later frame can be larger than the header says; the decoder must refuse it before it
        # takes the memory.
        self._context.options = {"max_pixels": str(2 * PIXEL_CAP), **options}


def _flushing(stream: Any) -> Any:  # noqa: ANN401
    """Return a packet that makes the decoder give what it holds."""
    packet = av.packet.Packet()
    # Without it the times of those frames come in another time base.
    packet.time_base = stream.time_base
    return packet
