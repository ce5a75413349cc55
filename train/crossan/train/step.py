"""From a batch of sequences to its loss, in two ways: the one that trains and its slow twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from crossan.train.features import Features, Fetched
from crossan.train.loss import PADDING, BatchColumns, batch_columns, debiased_loss_of_batch
from crossan.train.model import Crossan

__all__ = ["LossOfBatch", "PreparedBatch", "loss_by_position", "loss_of_batch", "loss_of_prepared", "prepare_batch"]

LossOfBatch = Callable[[Crossan, Features, Tensor, Tensor], Tensor]
"""What both ways are: model, features, ``(users, position)`` catalogue rows padded with `PADDING`, log p of the
catalogue ``(items,)`` to the loss."""


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """What of a step needs no weights, and so can be done while the step before is computed."""

    columns: BatchColumns
    fetched: Fetched


def prepare_batch(features: Features, sequences: Tensor) -> PreparedBatch:
    """Find the unique items of a batch and begin to gather them.

    The sequences lie best on the CPU, wherever the model is: every index is
    found there, and the device never waits for a count.
    """
    columns = batch_columns(sequences)
    return PreparedBatch(columns, features.fetch(columns.items))


def loss_of_prepared(model: Crossan, batch: PreparedBatch, log_popularity: Tensor) -> Tensor:
    """Return the loss of a batch, each of its items encoded once."""
    columns = batch.columns.to(log_popularity.device)
    item_vectors = model.item_encoder(*batch.fetched.gather(columns.items))
    return debiased_loss_of_batch(columns, item_vectors, model.sequence_encoder, log_popularity)


def loss_of_batch(model: Crossan, features: Features, sequences: Tensor, log_popularity: Tensor) -> Tensor:
    """Return the loss of a batch, each of its items gathered and encoded once: `prepare_batch`, then `loss_of_prepared`."""
    return loss_of_prepared(model, prepare_batch(features, sequences), log_popularity)


def loss_by_position(model: Crossan, features: Features, sequences: Tensor, log_popularity: Tensor) -> Tensor:
    """Return the same loss as vectorised code first writes it: every position gathered, encoded and scored for itself.

    Padding included, under masks; plain modules, plain autograd, one logit per
    prediction and position, all in memory: ``--reference``. Without dropout the
    loss and every gradient equal `loss_of_batch`'s to rounding.
    """
    sequences = sequences.to(features.presence.device)
    is_real, rows = sequences != PADDING, sequences.clamp(min=0).flatten()
    vectors = model.item_encoder.plain(*features.gather(rows))  # (users * position, width)
    placed = vectors.view(*sequences.shape, -1)  # (users, position, width)
    user_vectors = model.sequence_encoder(placed[:, :-1], is_real[:, :-1])
    is_predicting = is_real[:, :-1] & is_real[:, 1:]
    predicting = user_vectors[is_predicting]  # (predictions, width)
    following = sequences[:, 1:][is_predicting]
    wanted = (predicting * placed[:, 1:][is_predicting]).sum(dim=1) - log_popularity[following]
    is_own = (sequences.unsqueeze(2) == rows).any(dim=1)  # (users, users * position)
    is_negative = (~is_own & is_real.flatten())[is_predicting.nonzero()[:, 0]]
    scores = predicting @ vectors.T - log_popularity[rows]  # (predictions, users * position)
    negatives = scores.masked_fill(~is_negative, float("-inf"))
    loss: Tensor = (torch.cat([wanted.unsqueeze(1), negatives], dim=1).logsumexp(dim=1) - wanted).mean()
    return loss
