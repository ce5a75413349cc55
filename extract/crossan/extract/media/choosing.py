"""Choose the frames of a clip, those on the screen at its moments."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.extract.media.faults import MediaError, MediaFault
from crossan.extract.media.notes import MediaNote
from crossan.extract.media.recipe import PIXEL_CAP

__all__ = ["FrameChooser", "Frames", "check_pixels", "is_variable"]

Frames = npt.NDArray[np.uint8]

_HDR_TRANSFERS = {16, 18}
"""PQ (SMPTE ST 2084) and HLG (ARIB STD-B67), as ITU-T H.273 numbers them."""

_UNEVEN = 1.5
"""Gaps that differ by more than this factor are uneven.

Less can be rounding: 60 frames per second are 16 and 17 milliseconds apart.
"""
_UNEVEN_SHARE = 0.05
"""Share of uneven gaps up to which a rate is not variable; a frame may be lost, or cut out."""


class FrameChooser:
    """Takes decoded frames in the order they are shown and converts those of the moments.

    Parameters
    ----------
    moments
        Seconds after the first frame, ascending.
    usual_step
        Seconds that a frame is shown where no later one says.
    """

    def __init__(self, moments: Sequence[float], usual_step: float) -> None:
        self._moments, self.usual_step = moments, usual_step
        self._frames: Frames | None = None
        self._shapes: list[tuple[int, ...]] = []
        self._shown: Any = None
        self._first: float | None = None
        self._last = self._step = 0.0
        self._times: list[float] = []
        self._notes: set[MediaNote] = set()
        self.chosen_pts: list[int | None] = []
        """Timestamp of the frame chosen for each moment so far, in the stream's time base."""
        self.first_pts: int | None = None
        self.shown_until = 0.0
        """How far the frames reach, in seconds."""
        self.is_ended = False
        """Whether the last frame stands in for others at the end."""

    @property
    def is_complete(self) -> bool:
        """Whether every moment has its frame."""
        return len(self._shapes) == len(self._moments)

    def see(self, frame: Any) -> None:  # noqa: ANN401 - PyAV's types are C extensions
        """Take the next frame."""
        time = float(frame.time) if frame.time is not None else self._last + self._step
        # Many clips begin after 0, by an edit list or a cut: the first frame is their beginning.
        if self._first is None:
            self._first, self.first_pts = time, frame.pts
        now = time - self._first
        if self._shown is not None:
            # A frame that claims to be shown before its predecessor is left out.
            if now <= self._last:
                return
            # Only now is it known how long the predecessor was on the screen.
            self._choose_shown(sum(moment < now for moment in self._moments[len(self._shapes) :]))
        if self.is_complete:
            self.shown_until = now
            return
        self._times.append(now)
        self._step = now - self._last if self._shown is not None else self.usual_step
        self._last, self._shown = now, frame
        # The last one may be held, as the still picture of a song is.
        self.shown_until = self._last + max(self._step, _duration(frame))

    def end(self) -> None:
        """Let the last frame stand in for what is missing, as no frame follows."""
        if self._shown is None or self.is_complete:
            return
        self.is_ended = True
        if self.shown_until < self._moments[-1]:
            self._notes.add(MediaNote.PADDED)
        self._choose_shown(len(self._moments) - len(self._shapes))

    def frames(self) -> Frames | None:
        """Return the chosen frames, one per moment, or None where none was seen.

        Raises
        ------
        MediaError
            They are not of one size.
        """
        sizes = set(self._shapes)
        if len(sizes) > 1:
            raise MediaError(
                MediaFault.CORRUPT, f"the frame size changes within the clip: {sorted(sizes)}"
            )
        return self._frames

    def notes(self, times: Sequence[float] | None = None) -> tuple[MediaNote, ...]:
        """Return what is odd about the clip.

        Parameters
        ----------
        times
            When each of its frames is shown, seconds; None where all were seen.
        """
        notes = set(self._notes)
        if is_variable(self._times if times is None else times):
            notes.add(MediaNote.VARIABLE_FRAME_RATE)
        return tuple(sorted(notes))

    def _choose_shown(self, count: int) -> None:
        if not count:
            return
        # Each frame anew, for a stream may change its size on the way.
        check_pixels(self._shown.width, self._shown.height)
        pixels = _to_rgb(self._shown)
        turns = round(self._shown.rotation / 90) % 4
        if turns:
            pixels = np.rot90(pixels, turns)
            self._notes.add(MediaNote.ROTATED)
        if self._shown.color_trc in _HDR_TRANSFERS:
            self._notes.add(MediaNote.HDR)
        if self._frames is None:
            self._frames = np.empty((len(self._moments), *pixels.shape), np.uint8)
        if pixels.shape == self._frames.shape[1:]:
            self._frames[len(self._shapes) : len(self._shapes) + count] = pixels
        self._shapes += [pixels.shape] * count
        self.chosen_pts += [self._shown.pts] * count


def is_variable(times: Sequence[float]) -> bool:
    """Tell whether frames shown at these times, ascending, follow each other at uneven steps."""
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    if not gaps:
        return False
    usual = gaps[len(gaps) // 2]
    uneven = sum(not usual / _UNEVEN < gap < usual * _UNEVEN for gap in gaps)
    return uneven > _UNEVEN_SHARE * len(gaps)


def check_pixels(width: int, height: int) -> None:
    """Refuse a frame of more than `PIXEL_CAP` pixels.

    Raises
    ------
    MediaError
        The frame is too large.
    """
    if width * height > PIXEL_CAP:
        raise MediaError(
            MediaFault.TOO_MANY_PIXELS, f"{width:,} x {height:,} pixels > {PIXEL_CAP:,}"
        )


def _duration(frame: Any) -> float:  # noqa: ANN401
    """Return how long the container says that a frame is shown, 0 where it does not."""
    return float((frame.duration or 0) * frame.time_base) if frame.time_base else 0.0


def _to_rgb(frame: Any) -> Frames:  # noqa: ANN401
    """Return the frame's pixels as RGB, ``(height, width, 3)``."""
    # A view of the converted plane, where PyAV's to_ndarray() would make one more copy. Rows are
    # padded to line_size bytes.
    plane = frame.reformat(format="rgb24", threads=1).planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
    return rows[:, : 3 * frame.width].reshape(frame.height, frame.width, 3)
