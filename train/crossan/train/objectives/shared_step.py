"""The step of several ranks.

Its loss and gradients are those of `crossan.train.objectives.step.loss_of_batch`,
up to rounding. Every rank knows the whole batch. It encodes its share of the
unique items, receives the vectors of all, and predicts for its share of the
users.

Three mistakes would give a plausible loss and wrong gradients: to gather without
a gradient (44 % off), to take the mean over the predictions of one rank, and to
take only the items of one rank as negatives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.features import ItemInputs
from crossan.train.layers.packing import Packing
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.candidates import InBatchRule, columns_by, softmax_by
from crossan.train.objectives.columns import BatchColumns
from crossan.train.objectives.loss import debiased_loss_of_batch
from crossan.train.objectives.step import Prepared
from crossan.train.ranks.ranks import Ranks

__all__ = ["gather_vectors", "of_users", "prepare_share"]


def prepare_share(
    ranks: Ranks,
    features: ItemInputs,
    sequences: Tensor,
    log_popularity: Tensor,
    rule: InBatchRule | None = None,
) -> Prepared:
    """Prepare this rank's share of the loss of a batch.

    The sum over the ranks is the loss of one process. The loss and its backward
    communicate, so every rank calls both once, whatever its share is.

    Parameters
    ----------
    ranks
        The ranks that share the batch.
    features
        The same on every rank, as is the model.
    sequences
        The whole batch on the CPU, ``(users, position)`` catalogue rows padded
        with `PADDING`.
    log_popularity
        Log p of the catalogue, ``(items,)``.
    rule
        What is done beside Eqs. 7-8; by default nothing.
    """
    columns, softmax = columns_by(rule, sequences), softmax_by(rule)
    items = columns.items[ranks.part(len(columns.items))]
    share = of_users(columns, ranks.part(len(sequences)))
    # The loss below is a mean over the predictions of this rank. Weighed by their share of all
    # predictions, the sum over the ranks is the mean over all.
    weight = len(share.positive) / max(len(columns.positive), 1)
    fetched = features.fetch(items)

    def loss_of_share(model: SequenceModel) -> Tensor:
        on_device = share.to(log_popularity.device)
        vectors_of_share = model.item_vectors(fetched, items.to(log_popularity.device))
        item_vectors = gather_vectors(vectors_of_share, len(on_device.items), ranks)
        if not len(on_device.positive):
            # A zero that depends on the vectors: the other ranks wait for this one's backward,
            # although it has nothing to predict.
            return item_vectors[:0].sum()
        loss = debiased_loss_of_batch(
            on_device, item_vectors, model.sequence_encoder.packed, log_popularity, softmax
        )
        return loss * weight

    return loss_of_share


def of_users(columns: BatchColumns, users: slice) -> BatchColumns:
    """Return the columns with the predictions of some users only."""
    packing = Packing.of(columns.packing.is_real[users])
    # Predictions are in the order of the users, so those of a range of users are a range too.
    first = int(columns.packing.is_real[: users.start].sum())
    end = first + len(packing.places)
    return BatchColumns(
        columns.items,
        columns.log_multiplicity,
        packing,
        columns.inputs[first:end],
        columns.positive[first:end],
        columns.user_items[first:end],
        log_q=columns.log_q,
        log_weight=None if columns.log_weight is None else columns.log_weight[first:end],
    )


def gather_vectors(vectors: Tensor, total: int, ranks: Ranks) -> Tensor:
    """Return the vectors of all ranks, ``(total, width)``, of which ``vectors`` are this one's.

    Its backward returns the gradient of every rank's use of them.
    """
    of_all: Tensor = _GatherVectors.apply(vectors, total, ranks)  # type: ignore[no-untyped-call]
    return of_all


class _GatherVectors(torch.autograd.Function):
    """The gather of all ranks' vectors, with a gradient."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        vectors: Tensor,
        total: int,
        ranks: Ranks,
    ) -> Tensor:
        ctx.total, ctx.ranks = total, ranks
        return ranks.gather(vectors, total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_vectors: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        # Each rank has the gradient of its loss for the vectors of all. Theirs is the sum over the
        # ranks, of which this one keeps the rows that it encoded. Cloned, because it is summed in
        # place and autograd may hold the tensor elsewhere.
        grad = grad_vectors.clone(memory_format=torch.contiguous_format)
        ctx.ranks.add_up(grad)
        return grad[ctx.ranks.part(ctx.total)], None, None
