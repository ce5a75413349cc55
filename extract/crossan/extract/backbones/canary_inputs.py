"""The fixed inputs whose features a store keeps as its canary."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from crossan.cache_schema.modality import Modality

__all__ = ["CANARY_COUNT", "CANARY_TITLES", "canary_inputs"]

CANARY_COUNT = 4
CANARY_TITLES = (
    "a",
    "The quick brown fox jumps over the lazy dog, 1234567890 times!",
    "Ünïcödé and 漢字 beside plain words",
    " ".join(f"word{number}" for number in range(100)),
)


class MediaShape(Protocol):
    """What a backbone tells of the media it takes."""

    modality: Modality
    sampling_rate: int | None
    frame_count: int | None


def canary_inputs(encoder: MediaShape) -> list[Any]:
    """Return four inputs of the backbone's modality, as the decoders would give them.

    They are made by integer arithmetic, so every machine makes the same.
    """
    if encoder.modality is Modality.TEXT:
        return list(CANARY_TITLES)
    if encoder.modality is Modality.IMAGE:
        from PIL import Image

        return [Image.fromarray(_picture(number, 0)) for number in range(CANARY_COUNT)]
    if encoder.modality is Modality.VIDEO:
        assert encoder.frame_count is not None
        return [
            np.stack([_picture(number, frame) for frame in range(encoder.frame_count)])
            for number in range(CANARY_COUNT)
        ]
    assert encoder.sampling_rate is not None
    return [_sound(number, encoder.sampling_rate) for number in range(CANARY_COUNT)]


def _picture(number: int, frame: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return one frame of a moving colour pattern, uint8 ``(height, width, 3)``.

    The four patterns have four sizes and textures.
    """
    height, width = 48 + 16 * number, 96 - 8 * number
    y, x = np.mgrid[0:height, 0:width]
    channels = [
        (x * (number + 2) + frame * 5) % 256,
        (y * (2 * number + 3) + frame * 3) % 256,
        ((x // 8 + y // 8 + frame) % 2) * (60 + 40 * number),
    ]
    return np.stack(channels, axis=2).astype(np.uint8)


def _sound(number: int, sampling_rate: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a sawtooth of 110, 220, 440 or 880 Hz within [-0.5, 0.5], float32 ``(samples,)``."""
    # One of the four is shorter than a clip of 3 s, so that a batch of the four is padded.
    seconds = 1 if number == 1 else 3
    # A sawtooth and not a sine: the remainder is exact, while sines differ between C libraries.
    phase = (np.arange(seconds * sampling_rate, dtype=np.int64) * (110 << number)) % sampling_rate
    return (phase / sampling_rate - 0.5).astype(np.float32)
