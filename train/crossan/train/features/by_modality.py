"""The features of each modality for itself, for models that keep a table of each."""

from __future__ import annotations

from crossan.train.features.interface import HiddenStates
from crossan.train.features.whole import last_states
from crossan.train.layers.view_graphs import ModalityFeatures
from crossan.train.settings.tower import modality_of

__all__ = ["modality_features"]


def modality_features(features: HiddenStates) -> list[ModalityFeatures]:
    """Return the features of every modality, as they are stored."""
    states, presence = last_states(features), features.presence.unbind(dim=1)
    return [
        ModalityFeatures(modality_of(tower), *parts)
        for tower, *parts in zip(features.modalities, states, presence, strict=True)
    ]
