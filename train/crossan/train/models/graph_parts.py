"""What graph models are made of, from what a model is built for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from crossan.train.layers.trainable_features import TrainableFeatures
from crossan.train.layers.training_pairs import TrainingPairs
from crossan.train.models.recommender import ModelContext
from crossan.train.sequences.flat import training_parts

__all__ = ["features_by_modality", "features_in", "training_pairs"]


def training_pairs(context: ModelContext) -> TrainingPairs:
    """Return the pairs of the training parts, each once, in the order of users and items."""
    parts, item_count = training_parts(context.seen), len(context.features.presence)
    pairs = np.unique(parts.users * item_count + parts.items)
    return TrainingPairs(pairs // item_count, pairs % item_count, parts.user_count, item_count)


def features_by_modality(
    context: ModelContext, states: Sequence[Tensor], width: int, *, are_trained: bool = True
) -> nn.ModuleDict:
    """Return the features and projections of each modality, by its name.

    Parameters
    ----------
    context
        What the model is built for.
    states
        Where the features of each modality begin, ``(items, dim)``.
    width
        Width of the projections.
    are_trained
        Whether the features are learned, too.
    """
    features = context.features
    by_modality = zip(features.modalities, states, features.presence.unbind(dim=1), strict=True)
    return nn.ModuleDict(
        {
            modality.value: TrainableFeatures(hidden, is_present, width, is_trained=are_trained)
            for modality, hidden, is_present in by_modality
        }
    )


def features_in(content: nn.ModuleDict) -> list[TrainableFeatures]:
    """Return the features of each modality, in the order of `Modality`."""
    return [features for features in content.values() if isinstance(features, TrainableFeatures)]
