"""The constants that fix what a decoder gives; they enter every store's identity."""

from __future__ import annotations

from typing import Any

from crossan.cache_schema.modality import Modality

__all__ = ["CLIP_LENGTH_S", "CLIP_RATE_CAP_HZ", "PIXEL_CAP", "frame_times", "media_recipe"]

CLIP_START_S = 0.0
"""Where the clip begins, seconds after the stream's first frame or sample."""

CLIP_LENGTH_S = 3.0
"""How long it is; the paper takes the first three seconds."""

PIXEL_CAP = 64_000_000
"""Pixels of one image or frame above which it is refused (a decompression bomb, or a mistake)."""

CLIP_RATE_CAP_HZ = 48_000
"""A kept sound has its own rate up to this one; no backbone hears what is above 24 kHz."""

_REVISION = 1
"""Raised whenever a decoder gives other values for the same file."""


def frame_times(frame_count: int) -> list[float]:
    """Return the moments, in seconds of the clip, whose frames are taken: the middles of equal parts."""
    return [CLIP_START_S + (part + 0.5) * CLIP_LENGTH_S / frame_count for part in range(frame_count)]


def media_recipe(modality: Modality, *, sampling_rate: int | None, frame_count: int | None) -> dict[str, Any]:
    """Return what fixes the decoded values of one modality, as JSON; empty for text.

    Parameters
    ----------
    modality
        Which decoder.
    sampling_rate
        Hz the backbone hears, for audio.
    frame_count
        Frames the backbone sees, for video.
    """
    clip = {"clip_start_s": CLIP_START_S, "clip_length_s": CLIP_LENGTH_S}
    if modality is Modality.IMAGE:
        return {
            "decoder": "pillow",
            "revision": _REVISION,
            "colour": "RGB, alpha dropped, 16 bit scaled to 8, first frame",
            "rotation": "EXIF transposed",
            "pixel_cap": PIXEL_CAP,
        }
    if modality is Modality.VIDEO:
        return {
            "decoder": "pyav",
            "revision": _REVISION,
            **clip,
            "frame_rule": "shown at the middle of equal parts, the last repeated",
            "frame_count": frame_count,
            "rotation": "display matrix applied",
            "colour": "rgb24 by swscale",
            "pixel_cap": PIXEL_CAP,
        }
    if modality is Modality.AUDIO:
        return {
            "decoder": "pyav",
            "revision": _REVISION,
            **clip,
            "resampler": "swresample",
            "channels": "mean",
            "sampling_rate": sampling_rate,
        }
    return {}
