"""The constants that fix what a decoder gives.

They are part of every store's identity.
"""

from __future__ import annotations

from typing import Any

from crossan.cache_schema.modality import Modality

__all__ = [
    "CLIP_JPEG",
    "CLIP_LENGTH_S",
    "CLIP_RATE_CAP_HZ",
    "CLIP_SHORT_EDGE",
    "CLIP_SOUND_MARGIN_S",
    "LOUDEST",
    "PIXEL_CAP",
    "READER_REVISION",
    "frame_times",
    "kept_clip_recipe",
    "media_recipe",
]

CLIP_START_S = 0.0
"""Where the clip begins, seconds after the stream's first frame or sample."""

CLIP_LENGTH_S = 3.0
"""Length of the clip in seconds; the paper takes the first three."""

LOUDEST = 32.0
"""Full scale is 1, and a mix in floats may pass it: by no more than 30 dB.

Floats in the steps of an integer type are far above.
"""

PIXEL_CAP = 64_000_000
"""Pixels above which an image or frame is refused, as a decompression bomb or a mistake."""

_REVISION = 1
"""Raised whenever a decoder of video gives other values for the same file."""

_SOUND_REVISION = 2
"""The same for sound.

1 took NaN for silence, and of parts that were joined read the first one alone.
"""

_PICTURE_REVISION = 2
"""The same for pictures.

1 clipped floats and 32 bit integers to black and white.
"""

READER_REVISION = 2
"""Raised whenever a decoder reads files that it refused before.

It is no part of an identity, as no value changes. Files that an earlier one refused
are tried again.
"""

CLIP_SHORT_EDGE = 224
"""Pixels of a kept frame's shorter side; smaller frames are not enlarged."""

CLIP_JPEG: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4"}
"""How kept frames are compressed; WebP of equal quality takes twice as long to read back."""

CLIP_RATE_CAP_HZ = 48_000
"""A kept sound has its own rate up to this one; no backbone hears what is above 24 kHz."""

CLIP_SOUND_MARGIN_S = 0.05
"""Seconds of sound kept beyond the clip, without which a resampler hears its end as a step."""

_CLIP_REVISION = 1
"""Raised whenever `--clips` gives other values for the same file though no decoder does."""


def frame_times(frame_count: int) -> list[float]:
    """Return the moments whose frames are taken, in seconds of the clip.

    They are the middles of equal parts.
    """
    return [
        CLIP_START_S + (part + 0.5) * CLIP_LENGTH_S / frame_count for part in range(frame_count)
    ]


def media_recipe(
    modality: Modality,
    *,
    sampling_rate: int | None,
    frame_count: int | None,
    is_clipped: bool = False,
) -> dict[str, Any]:
    """Return what fixes the decoded values of one modality, as JSON.

    It is empty for text, which nothing decodes.

    Parameters
    ----------
    modality
        Which decoder.
    sampling_rate
        Hz the backbone hears, for audio.
    frame_count
        Frames the backbone sees, for video.
    is_clipped
        Whether video and sound go through the folder of ``--clips``, which changes
        their values.
    """
    if modality is Modality.IMAGE:
        return {
            "decoder": "pillow",
            "revision": _PICTURE_REVISION,
            "colour": "RGB, alpha dropped, grey scaled by the range of its type, first frame",
            "rotation": "EXIF transposed",
            "pixel_cap": PIXEL_CAP,
        }
    kept = {"clip_kept_as": _kept_as(modality)} if is_clipped else {}
    if modality is Modality.VIDEO:
        return _frames_recipe(frame_count) | kept
    if modality is Modality.AUDIO:
        return _sound_recipe() | {"sampling_rate": sampling_rate} | kept
    return {}


def kept_clip_recipe(modality: Modality, frame_count: int | None) -> dict[str, Any]:
    """Return what fixes the bytes that ``--clips`` keeps of one file.

    These are frames for video and sound for audio. One sound serves every
    backbone, and is brought to the backbone's sampling rate when it is read.
    """
    decoded = _frames_recipe(frame_count) if modality is Modality.VIDEO else _sound_recipe()
    return {"modality": modality.value, **decoded, "clip_kept_as": _kept_as(modality)}


def _kept_as(modality: Modality) -> dict[str, Any]:
    if modality is Modality.VIDEO:
        return {
            "revision": _CLIP_REVISION,
            "codec": "jpeg",
            **CLIP_JPEG,
            "short_edge": CLIP_SHORT_EDGE,
            "scaling": "Pillow bilinear, never enlarged",
        }
    return {
        "revision": _CLIP_REVISION,
        "codec": "flac",
        "sample_bits": 16,
        "sampling_rate_cap": CLIP_RATE_CAP_HZ,
        "margin_s": CLIP_SOUND_MARGIN_S,
    }


def _frames_recipe(frame_count: int | None) -> dict[str, Any]:
    return {
        "decoder": "pyav",
        "revision": _REVISION,
        "clip_start_s": CLIP_START_S,
        "clip_length_s": CLIP_LENGTH_S,
        "frame_rule": "shown at the middle of equal parts, the last repeated",
        "frame_count": frame_count,
        "rotation": "display matrix applied",
        "colour": "rgb24 by swscale",
        "pixel_cap": PIXEL_CAP,
    }


def _sound_recipe() -> dict[str, Any]:
    return {
        "decoder": "pyav",
        "revision": _SOUND_REVISION,
        "clip_start_s": CLIP_START_S,
        "clip_length_s": CLIP_LENGTH_S,
        "resampler": "swresample",
        "channels": "mean",
    }
