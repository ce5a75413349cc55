"""Features, models and batches small enough for float64 and a slow twin."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from hypothesis import strategies as st

from crossan.cache_schema.modality import Modality
from crossan.train.features import FeatureTable
from crossan.train.models.recommender import ModelContext
from crossan.train.models.table import build_model
from crossan.train.sequences.padding import PADDING
from crossan.train.settings import CrossanSettings, FrozenSettings, SasrecSettings

ITEM_COUNT, LAYER_COUNT, LENGTH = 7, 3, 5


def make_features(dims, generator, share_present=0.7, item_count=ITEM_COUNT):
    """Half precision, garbage in absent rows, no item without any modality."""
    presence = torch.rand(item_count, len(dims), generator=generator) < share_present
    presence[~presence.any(dim=1), 0] = True
    hidden = [torch.randn(item_count, LAYER_COUNT, dim, generator=generator).half() for dim in dims]
    for m, states in enumerate(hidden):
        states[~presence[:, m]] = float("nan")
    return FeatureTable(tuple(Modality)[: len(dims)], tuple(hidden), presence)


def build(settings, dims, layer_count, input_length, is_trained=None):
    """Build a model of any kind for hidden states of these widths, with random weights.

    Without ``is_trained`` the catalogue has one item, and that is trained.
    """
    counts = np.array([1] if is_trained is None else is_trained.tolist(), dtype=np.int64)
    item_count = len(counts)
    hidden = tuple(torch.empty(item_count, layer_count, dim) for dim in dims)
    presence = torch.ones(item_count, len(dims), dtype=torch.bool)
    features = FeatureTable(tuple(Modality)[: len(dims)], hidden, presence)
    return build_model(settings, ModelContext(features, None, counts, input_length))


def make_model(dims, combine, seed, item_count=ITEM_COUNT, kind="crossan", **parts):
    torch.manual_seed(seed)
    shape = SasrecSettings(width=4, dropout=0.0, **parts) if kind == "sasrec" else None
    if kind != "sasrec":
        content = {"width": 4, "top_k": min(2, len(dims)), "combine": combine, "dropout": 0.0}
        classes = {"crossan": partial(CrossanSettings, bottleneck_dim=4), "frozen": FrozenSettings}
        shape = classes[kind](**content, **parts)
    model = build(shape, dims, LAYER_COUNT, LENGTH, torch.ones(item_count, dtype=torch.bool))
    for parameter in model.double().parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def loss_and_gradients(loss_of, model, *batch):
    loss = loss_of(model, *batch)
    # None where nothing reads a parameter: an expert no item chose
    gradients = torch.autograd.grad(
        loss, list(model.parameters()), allow_unused=True, materialize_grads=True
    )
    return [loss.detach(), *gradients]


@st.composite
def batches(draw):
    items = st.integers(0, ITEM_COUNT - 1)
    users = draw(st.lists(st.lists(items, min_size=2, max_size=LENGTH + 1), min_size=1, max_size=6))
    return torch.tensor([[PADDING] * (LENGTH + 1 - len(user)) + user for user in users])
