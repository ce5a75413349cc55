"""Features, models and batches small enough for float64 and a slow twin."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from crossan.cache_schema.modality import Modality
from crossan.train.features import FeatureTable
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.sequences.padding import PADDING
from crossan.train.settings import ModelSettings

ITEM_COUNT, LAYER_COUNT, LENGTH = 7, 3, 5


def make_features(dims, generator, share_present=0.7, item_count=ITEM_COUNT):
    """Half precision, garbage in absent rows, no item without any modality."""
    presence = torch.rand(item_count, len(dims), generator=generator) < share_present
    presence[~presence.any(dim=1), 0] = True
    hidden = [torch.randn(item_count, LAYER_COUNT, dim, generator=generator).half() for dim in dims]
    for m, states in enumerate(hidden):
        states[~presence[:, m]] = float("nan")
    return FeatureTable(tuple(Modality)[: len(dims)], tuple(hidden), presence)


def make_model(dims, combine, seed, item_count=ITEM_COUNT, **parts):
    torch.manual_seed(seed)
    shape = ModelSettings(
        bottleneck_dim=4, width=4, top_k=min(2, len(dims)), combine=combine, dropout=0.0, **parts
    )
    model = SequenceModel.build(
        dims, LAYER_COUNT, LENGTH, shape, torch.ones(item_count, dtype=torch.bool)
    ).double()
    for parameter in model.parameters():
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
