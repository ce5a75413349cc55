"""Compute the canary, which tells whether this machine computes what a store holds."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from crossan.cache_schema.errors import IncompatibleError
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.job.prepare import Encoder

__all__ = ["canary_features"]

# Weak, so that remembering the features does not keep a backbone's weights in memory.
_computed: WeakKeyDictionary[Encoder, np.ndarray[Any, Any]] = WeakKeyDictionary()


def canary_features(encoder: Encoder) -> np.ndarray[Any, Any]:
    """Return the canary's features, float32 ``(4, layer, dim)``.

    They are computed once for each loaded backbone.

    Raises
    ------
    IncompatibleError
        Some of the features are not finite.
    """
    if encoder in _computed:
        return _computed[encoder]
    features = encoder.begin([encoder.prepare(medium) for medium in canary_inputs(encoder)])()
    if not np.isfinite(features).all():
        raise IncompatibleError(
            f"{encoder.modality.value}: "
            "expected finite features of the canary inputs, got NaN or infinity",
            remedy="Compute in float32: --dtype float32",
        )
    _computed[encoder] = features
    return features
