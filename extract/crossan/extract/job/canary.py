"""Four fixed inputs per modality whose features tell whether this machine computes what the store holds."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from crossan.cache_schema.errors import IncompatibleError
from crossan.cache_schema.modality import Modality
from crossan.extract.job.prepare import Encoder

__all__ = ["CANARY_COUNT", "canary_features", "canary_inputs"]

CANARY_COUNT = 4
_computed: WeakKeyDictionary[Encoder, np.ndarray[Any, Any]] = WeakKeyDictionary()
_TITLES = (
    "a",
    "The quick brown fox jumps over the lazy dog, 1234567890 times!",
    "Ünïcödé and 漢字 beside plain words",
    " ".join(f"word{number}" for number in range(100)),
)


def canary_inputs(encoder: Encoder) -> list[Any]:
    """Return the four inputs, as the decoders would give them; made by integer arithmetic, the same everywhere."""
    if encoder.modality is Modality.TEXT:
        return list(_TITLES)
    if encoder.modality is Modality.IMAGE:
        return [Image.fromarray(_picture(number, 0)) for number in range(CANARY_COUNT)]
    if encoder.modality is Modality.VIDEO:
        assert encoder.frame_count is not None
        return [
            np.stack([_picture(number, frame) for frame in range(encoder.frame_count)])
            for number in range(CANARY_COUNT)
        ]
    assert encoder.sampling_rate is not None
    return [_sound(number, encoder.sampling_rate) for number in range(CANARY_COUNT)]


def canary_features(encoder: Encoder) -> np.ndarray[Any, Any]:
    """Return the canary's features, float32 ``(4, layer, dim)``; computed once for a loaded backbone.

    Raises
    ------
    IncompatibleError
        The backbone gives values that are not finite even for these.
    """
    if encoder in _computed:
        return _computed[encoder]
    features = encoder.begin([encoder.prepare(medium) for medium in canary_inputs(encoder)])()
    if not np.isfinite(features).all():
        raise IncompatibleError(
            f"{encoder.modality.value}: expected finite features of the canary inputs, got NaN or infinity",
            remedy="Compute in float32: --dtype float32",
        )
    _computed[encoder] = features
    return features


def _picture(number: int, frame: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a moving colour pattern, uint8 ``(height, width, 3)``; the four have four sizes and textures."""
    height, width = 48 + 16 * number, 96 - 8 * number
    y, x = np.mgrid[0:height, 0:width]
    channels = [
        (x * (number + 2) + frame * 5) % 256,
        (y * (2 * number + 3) + frame * 3) % 256,
        ((x // 8 + y // 8 + frame) % 2) * (60 + 40 * number),
    ]
    return np.stack(channels, axis=2).astype(np.uint8)


def _sound(number: int, sampling_rate: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a sawtooth of 110, 220, 440 or 880 Hz within [-0.5, 0.5], 3 s long (the second 1 s), float32."""
    seconds = 1 if number == 1 else 3
    phase = (np.arange(seconds * sampling_rate, dtype=np.int64) * (110 << number)) % sampling_rate
    return (phase / sampling_rate - 0.5).astype(np.float32)
