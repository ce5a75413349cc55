"""Probes for ``crossan data check``, which may not import a decoder itself."""

from __future__ import annotations

from pathlib import Path

from crossan.cache_schema.modality import ItemStatus
from crossan.extract.media.audio import decode_audio
from crossan.extract.media.faults import AbsentMedium
from crossan.extract.media.image import decode_image
from crossan.extract.media.video import decode_video

__all__ = ["probe_audio", "probe_image", "probe_video"]

_PROBE_RATE = 16_000
_PROBE_FRAMES = 16


def probe_image(path: Path) -> ItemStatus:
    """Return ok for an image that decodes, and raise `MediaError` otherwise."""
    decode_image(path)
    return ItemStatus.OK


def probe_audio(path: Path) -> ItemStatus:
    """Return ok for a sound that decodes and absent for a video without one.

    Raises
    ------
    MediaError
        The file cannot be read.
    """
    try:
        decode_audio(path, sampling_rate=_PROBE_RATE)
    except AbsentMedium:
        return ItemStatus.ABSENT
    return ItemStatus.OK


def probe_video(path: Path) -> ItemStatus:
    """Return ok for a video that decodes, and raise `MediaError` otherwise."""
    decode_video(path, frame_count=_PROBE_FRAMES)
    return ItemStatus.OK
