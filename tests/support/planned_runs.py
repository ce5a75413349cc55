"""Runs of made-up users and items that are large enough for their memory to be measured."""

import numpy as np
import torch

from crossan.cache_schema.modality import Modality
from crossan.common.datasets.protocol import SelectionSequences
from crossan.common.datasets.splitting import TRAINING, VALIDATION
from crossan.train.features import FeatureTable
from crossan.train.loop.trainable import TrainableRun
from crossan.train.models.recommender import ModelContext
from crossan.train.models.table import build_model
from crossan.train.record.run_folder import RunFolder
from crossan.train.sequences.popularity import training_counts
from crossan.train.settings import RunSettings

LENGTH = 11
"""Training items of each user: a whole batch of the paper's length."""


def made_up_run(
    folder,
    kind,
    *,
    users=300,
    items=900,
    dims=(96, 64),
    layers=4,
    batch_size=64,
    objective=None,
    **model,
):
    """Return a run of users with a training part and a validation target, not on disk."""
    random = np.random.default_rng(0)
    rows = random.integers(0, items, (users, LENGTH + 1))
    rows[: items // (LENGTH + 1) + 1].flat[:items] = np.arange(items)  # every item is trained
    parts = np.full(rows.shape, TRAINING)
    parts[:, -1] = VALIDATION
    seen = SelectionSequences(
        np.array([f"u{user:05d}" for user in range(users)]),
        np.array([f"i{item:05d}" for item in range(items)]),
        rows.flatten(),
        np.arange(users + 1) * (LENGTH + 1),
        parts.flatten(),
    )
    settings = RunSettings.model_validate(
        {
            "data": {"dataset": "d", "cache": "c"},
            "model": {"kind": kind, **model},
            "batch_size": batch_size,
            **({} if objective is None else {"objective": objective}),
        }
    )
    features = FeatureTable.without_content(items)
    if settings.model.reads_hidden_states:
        presence = torch.from_numpy(random.random((items, len(dims))) < 0.9)
        presence[:, 0] = True
        kept = layers if settings.model.learns_from != "triples" else 1
        hidden = tuple(torch.randn(items, kept, dim).half() for dim in dims)
        features = FeatureTable((Modality.TEXT, Modality.IMAGE)[: len(dims)], hidden, presence)
    torch.manual_seed(0)
    context = ModelContext(
        features,
        seen,
        training_counts(seen.training_items, items),
        settings.data.input_length,
        batch_size=batch_size,
    )
    model_of_run = build_model(settings.model, context)
    return TrainableRun(RunFolder(folder / "r"), settings, seen, features, model_of_run)
