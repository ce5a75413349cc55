"""What is odd about a medium that could be read."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["MediaNote"]


class MediaNote(StrEnum):
    """Facts about one clip for the job report; none of them keeps it from being used."""

    HDR = "hdr"
    """The transfer characteristic is PQ or HLG: read as if it were not, such frames look flat."""
    PADDED = "padded"
    """Shorter than the clip: the last frame stands in for the rest, or the sound ends early."""
    ROTATED = "rotated"
    """The display matrix turned the frames."""
    VARIABLE_FRAME_RATE = "variable-frame-rate"
    """More than one frame in twenty is shown half as long again as usual, or less than two thirds as long."""
