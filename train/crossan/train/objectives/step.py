"""From a batch of sequences to its loss, by the way that trains and by its slow twin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from crossan.train.features import Fetched, ItemInputs
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.loss import BatchColumns, batch_columns, debiased_loss_of_batch
from crossan.train.sequences.padding import PADDING

__all__ = [
    "LossOfBatch",
    "Prepared",
    "loss_by_position",
    "loss_of_batch",
    "prepare_batch",
    "prepare_by_position",
]

LossOfBatch = Callable[[SequenceModel, ItemInputs, Tensor, Tensor], Tensor]
"""What both ways are.

From model, features, ``(users, position)`` catalogue rows padded with `PADDING`
and log p of the catalogue ``(items,)`` to the loss."""
Prepared = Callable[[Any], Tensor]
"""The rest of a step, from the model to the loss, called once.

The model is a `SequenceModel` or, of triples, a `TableModel`. What needs no weights is done
already."""


def prepare_batch(features: ItemInputs, sequences: Tensor, log_popularity: Tensor) -> Prepared:
    """Find the unique items of a batch and begin to gather them.

    The loss that is returned encodes each of them once. The sequences lie best on the CPU,
    wherever the model is: every index is made there, and the device never waits for a count.
    """
    columns = batch_columns(sequences)
    return partial(_loss_of_prepared, columns, features.fetch(columns.items), log_popularity)


def _loss_of_prepared(
    columns: BatchColumns, fetched: Fetched, log_popularity: Tensor, model: SequenceModel
) -> Tensor:
    columns = columns.to(log_popularity.device)
    item_vectors = model.item_vectors(fetched, columns.items)
    return debiased_loss_of_batch(
        columns, item_vectors, model.sequence_encoder.packed, log_popularity
    )


def loss_of_batch(
    model: SequenceModel, features: ItemInputs, sequences: Tensor, log_popularity: Tensor
) -> Tensor:
    """Return the loss of a batch, each of its items gathered and encoded once."""
    return prepare_batch(features, sequences, log_popularity)(model)


def prepare_by_position(
    features: ItemInputs, sequences: Tensor, log_popularity: Tensor
) -> Prepared:
    """Prepare nothing of `loss_by_position`."""
    return lambda model: loss_by_position(model, features, sequences, log_popularity)


def loss_by_position(
    model: SequenceModel, features: ItemInputs, sequences: Tensor, log_popularity: Tensor
) -> Tensor:
    """Return the same loss with every position gathered, encoded and scored for itself.

    This is what vectorised code first looks like, padding included, under
    masks: plain modules, plain autograd, one logit per prediction and position,
    all in memory. ``--reference`` trains by it. Without dropout the loss and
    every gradient equal those of `loss_of_batch` to rounding.
    """
    sequences = sequences.to(features.presence.device)
    is_real, rows = sequences != PADDING, sequences.clamp(min=0).flatten()
    vectors = model.plain_item_vectors(features, rows)  # (users * position, width)
    placed = vectors.view(*sequences.shape, -1)  # (users, position, width)
    user_vectors = model.sequence_encoder(placed[:, :-1], is_real[:, :-1])
    is_predicting = is_real[:, :-1] & is_real[:, 1:]
    predicting = user_vectors[is_predicting]  # (predictions, width)
    following = sequences[:, 1:][is_predicting]
    positive = (predicting * placed[:, 1:][is_predicting]).sum(dim=1) - log_popularity[following]
    is_own = (sequences.unsqueeze(2) == rows).any(dim=1)  # (users, users * position)
    is_negative = (~is_own & is_real.flatten())[is_predicting.nonzero()[:, 0]]
    scores = predicting @ vectors.T - log_popularity[rows]  # (predictions, users * position)
    negatives = scores.masked_fill(~is_negative, float("-inf"))
    loss: Tensor = (
        torch.cat([positive.unsqueeze(1), negatives], dim=1).logsumexp(dim=1) - positive
    ).sum()
    return loss / max(len(positive), 1)
