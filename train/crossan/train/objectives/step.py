"""From a batch of sequences to its loss, by the way that trains and by its slow twin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from crossan.train.features import Fetched, ItemInputs
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.candidates import InBatchRule, columns_by, softmax_by
from crossan.train.objectives.columns import BatchColumns
from crossan.train.objectives.loss import Softmax, debiased_loss_of_batch
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


def prepare_batch(
    features: ItemInputs,
    sequences: Tensor,
    log_popularity: Tensor,
    rule: InBatchRule | None = None,
) -> Prepared:
    """Find the unique items of a batch and begin to gather them.

    The loss that is returned encodes each of them once. The sequences lie best on the CPU,
    wherever the model is: every index is made there, and the device never waits for a count.

    Parameters
    ----------
    features
        What items are read by.
    sequences
        ``(users, position)`` catalogue rows padded with `PADDING`.
    log_popularity
        Log p of the catalogue, ``(items,)``, where the model computes.
    rule
        What is done beside Eqs. 7-8; by default nothing.
    """
    columns = columns_by(rule, sequences)
    fetched = features.fetch(columns.items)
    return partial(_loss_of_prepared, columns, fetched, log_popularity, softmax_by(rule))


def _loss_of_prepared(
    columns: BatchColumns,
    fetched: Fetched,
    log_popularity: Tensor,
    softmax: Softmax,
    model: SequenceModel,
) -> Tensor:
    columns = columns.to(log_popularity.device)
    item_vectors = model.item_vectors(fetched, columns.items)
    return debiased_loss_of_batch(
        columns, item_vectors, model.sequence_encoder.packed, log_popularity, softmax
    )


def loss_of_batch(
    model: SequenceModel,
    features: ItemInputs,
    sequences: Tensor,
    log_popularity: Tensor,
    rule: InBatchRule | None = None,
) -> Tensor:
    """Return the loss of a batch, each of its items gathered and encoded once."""
    return prepare_batch(features, sequences, log_popularity, rule)(model)


def prepare_by_position(
    features: ItemInputs,
    sequences: Tensor,
    log_popularity: Tensor,
    rule: InBatchRule | None = None,
) -> Prepared:
    """Prepare nothing of `loss_by_position`."""
    return lambda model: loss_by_position(model, features, sequences, log_popularity, rule)


def loss_by_position(
    model: SequenceModel,
    features: ItemInputs,
    sequences: Tensor,
    log_popularity: Tensor,
    rule: InBatchRule | None = None,
) -> Tensor:
    """Return the same loss with every position gathered, encoded and scored for itself.

    This is what vectorised code first looks like, padding included, under
    masks: plain modules, plain autograd, one logit per prediction and position,
    all in memory. ``--reference`` trains by it. Without dropout the loss and
    every gradient equal those of `loss_of_batch` to rounding.
    """
    device, softmax = features.presence.device, softmax_by(rule)
    # What is drawn beside the batch stands after its positions, as columns that nobody is at.
    drawn = sequences.new_zeros(0) if rule is None else rule.drawn(sequences.cpu())
    sequences, drawn = sequences.to(device), drawn.to(device)
    is_real = sequences != PADDING
    rows = torch.cat([sequences.clamp(min=0).flatten(), drawn])
    is_column = torch.cat([is_real.flatten(), torch.ones_like(drawn, dtype=torch.bool)])
    log_q = log_popularity[rows]
    if rule is not None:
        log_q = rule.log_q(rows.cpu(), int(is_real.sum())).to(log_q)
    vectors = model.plain_item_vectors(features, rows)  # (users * position + drawn, width)
    placed = vectors[: sequences.numel()].view(*sequences.shape, -1)  # (users, position, width)
    user_vectors = model.sequence_encoder(placed[:, :-1], is_real[:, :-1]) / softmax.temperature
    is_predicting = is_real[:, :-1] & is_real[:, 1:]
    predicting = user_vectors[is_predicting]  # (predictions, width)
    positive = (predicting * placed[:, 1:][is_predicting]).sum(dim=1)
    is_own = (sequences.unsqueeze(2) == rows).any(dim=1)  # (users, columns)
    users = is_predicting.nonzero()[:, 0]
    is_negative = (~is_own & is_column)[users]  # (predictions, columns)
    negatives = predicting @ vectors.T - log_q
    if rule is not None and rule.debias == "negatives":
        own_share = _share_of_distinct(is_own & is_column, rows, log_q.exp())[users]
        counts = is_negative.sum(dim=1).clamp(min=1).to(own_share)
        left = (1.0 - own_share).clamp(min=torch.finfo(own_share.dtype).tiny)
        negatives = negatives + (left.log() - counts.log()).unsqueeze(1)
    else:
        positive = positive - log_q[: sequences.numel()].view_as(sequences)[:, 1:][is_predicting]
    negatives = negatives.masked_fill(~is_negative, float("-inf"))
    whole = torch.cat([positive.unsqueeze(1), negatives], dim=1).logsumexp(dim=1)
    terms = positive - whole
    if softmax.label_smoothing:
        spread = _mean_over_candidates(terms, negatives - whole.unsqueeze(1), rows, is_column)
        terms = (1.0 - softmax.label_smoothing) * terms + softmax.label_smoothing * spread
    loss: Tensor = -terms.sum() / max(len(positive), 1)
    return loss


def _share_of_distinct(is_own: Tensor, rows: Tensor, shares: Tensor) -> Tensor:
    """Return the sum of the shares of each user's items, repeats once, ``(users,)``."""
    repeats = is_own.to(shares) @ (rows.unsqueeze(1) == rows).to(shares)  # (users, columns)
    return (is_own * shares / repeats.clamp(min=1.0)).sum(dim=1)


def _mean_over_candidates(
    positive: Tensor, negatives: Tensor, rows: Tensor, is_column: Tensor
) -> Tensor:
    """Return the mean log share of the items that each prediction chooses between.

    The log shares are of one occurrence each, -inf where it is no negative,
    ``(predictions, columns)``. The share of an item is that of all its occurrences, and an item
    counts once.
    """
    repeats = ((rows.unsqueeze(1) == rows) & is_column).sum(dim=1).clamp(min=1).to(negatives)
    is_negative = negatives > float("-inf")
    counted = is_negative / repeats
    of_items = (negatives + repeats.log()).masked_fill(~is_negative, 0.0)
    return (positive + (of_items * counted).sum(dim=1)) / (1.0 + counted.sum(dim=1))
