"""What is odd about a medium that could be read."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["MediaNote"]


class MediaNote(StrEnum):
    """Facts about one clip for the job report.

    None of them keeps the clip from being used.
    """

    HDR = "hdr"
    """The transfer characteristic is PQ or HLG. It is not undone, so the frames look flat."""
    PADDED = "padded"
    """Shorter than the clip. The last frame stands in for the rest, or the sound ends early."""
    ROTATED = "rotated"
    """The display matrix turned the frames."""
    VARIABLE_FRAME_RATE = "variable-frame-rate"
    """More than one frame in twenty is shown for 1.5 times as long as usual, or for 2/3 or less."""
