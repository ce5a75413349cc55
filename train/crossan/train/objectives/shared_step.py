"""The step of several ranks: its loss and gradients are those of `crossan.train.objectives.step.loss_of_batch`, to rounding.

Every rank knows the whole batch. It encodes its share of the unique items,
gets everybody's vectors, and predicts for its share of the users. What is 44 %
wrong with the right loss is to gather without the gradient; to take the mean
over one's own predictions, or one's own items as negatives, is wrong as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.features import Features
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.loss import BatchColumns, batch_columns, debiased_loss_of_batch
from crossan.train.objectives.step import Prepared
from crossan.train.ranks.ranks import Ranks

__all__ = ["gather_vectors", "prepare_share"]


def prepare_share(
    ranks: Ranks, features: Features, sequences: Tensor, log_popularity: Tensor
) -> Prepared:
    """Prepare this rank's share of a batch's loss; the sum over the ranks is the loss of one process.

    Its loss and the backward of that communicate: every rank calls both once,
    whatever its share.

    Parameters
    ----------
    ranks
        Who shares the batch.
    features
        The same on every rank, as is the model.
    sequences
        The whole batch, on the CPU, ``(users, position)`` catalogue rows padded with `PADDING`.
    log_popularity
        Log p of the catalogue, ``(items,)``.
    """
    columns = batch_columns(sequences)
    items = columns.items[ranks.part(len(columns.items))]
    share = _of_users(columns, ranks.part(len(sequences)))
    of_all = len(share.positive) / max(len(columns.positive), 1)
    fetched = features.fetch(items)

    def loss_of_share(model: SequenceModel) -> Tensor:
        here = share.to(log_popularity.device)
        own_vectors = model.item_vectors(fetched, items.to(log_popularity.device))
        item_vectors = gather_vectors(own_vectors, len(here.items), ranks)
        if not len(here.positive):
            return item_vectors[
                :0
            ].sum()  # nothing to predict; the others wait for this rank's backward all the same
        return (
            debiased_loss_of_batch(here, item_vectors, model.sequence_encoder, log_popularity)
            * of_all
        )

    return loss_of_share


def _of_users(columns: BatchColumns, users: slice) -> BatchColumns:
    """Return the columns with the predictions of some users only."""
    places = columns.sequences.shape[1] - 1
    bounds = torch.tensor([users.start * places, users.stop * places])
    first, end = torch.searchsorted(columns.predicting, bounds).tolist()
    return BatchColumns(
        columns.items,
        columns.sequences[users],
        columns.log_multiplicity,
        columns.predicting[first:end] - users.start * places,
        columns.positive[first:end],
        columns.own[first:end],
    )


def gather_vectors(own: Tensor, total: int, ranks: Ranks) -> Tensor:
    """Return the vectors of all ranks, ``(total, width)``; the gradient of every rank's use of ``own`` comes back."""
    vectors: Tensor = _GatherVectors.apply(own, total, ranks)  # type: ignore[no-untyped-call]
    return vectors


class _GatherVectors(torch.autograd.Function):
    """The gather, and its transpose: sum what all ranks want of all vectors, keep what is asked of one's own."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, total: int, ranks: Ranks) -> Tensor:  # noqa: ANN401 - torch gives it no type
        ctx.total, ctx.ranks = total, ranks
        return ranks.gather(own, total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_vectors: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        grad = grad_vectors.clone(memory_format=torch.contiguous_format)
        ctx.ranks.add_up(grad)
        return grad[ctx.ranks.part(ctx.total)], None, None
