"""The model of a run with random weights, for the sequences that it learns from."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import nn

from crossan.common.datasets import Dataset
from crossan.train.features import ItemInputs
from crossan.train.models.recommender import ModelContext
from crossan.train.models.table import build_model
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.refit import TrainingSequences
from crossan.train.settings import RunSettings

__all__ = ["make_model"]


def make_model(
    settings: RunSettings, dataset: Dataset, seen: TrainingSequences, features: ItemInputs
) -> nn.Module:
    """Return the model that settings name, on the device of the features.

    Parameters
    ----------
    settings
        The run's. Its seed fixes the weights.
    dataset
        What titles are read from, by the kinds that ask.
    seen
        What the model learns from.
    features
        The hidden states of the catalogue.
    """
    torch.manual_seed(settings.seed)
    context = ModelContext(
        features,
        seen,
        training_counts(seen.training_items, len(seen.item_ids)),
        settings.data.input_length,
        partial(_titles, dataset, seen.item_ids),
        settings.batch_size,
        settings.seed,
    )
    return build_model(settings.model, context).to(features.presence.device)


def _titles(dataset: Dataset, item_ids: np.ndarray) -> list[str | None]:
    """Return the title of each catalogue row, None where it has none."""
    items = dataset.items()
    titles = dict(zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True))
    return [titles.get(item) for item in item_ids.tolist()]
