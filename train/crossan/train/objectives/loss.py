r"""In-batch debiased cross entropy, Eqs. 7-8, over the unique items of a batch.

The denominator of Eq. 7 sums over every *occurrence* j in the batch that is not
the user's own. Occurrences of one item share its score, so with :math:`c_j`
occurrences of item j

.. math:: D_{ui} = \exp(\hat y_{ui} - \log p_i)
   + \sum_{j \notin I_u} c_j \exp(\hat y_{uj} - \log p_j),

the sum now over unique items: one column each, :math:`\log c_j` added to its
logit. Nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.sequences.padding import PADDING

__all__ = [
    "BatchColumns",
    "batch_columns",
    "columns_to_predict",
    "debiased_cross_entropy",
    "debiased_loss_of_batch",
]

_CPU_LOGIT_BYTES = 2 << 20
"""Logits alive at once on a CPU: what its cache holds."""
_LOGIT_BYTES = 256 << 20
"""The same on an accelerator."""


@dataclass(frozen=True, slots=True)
class BatchColumns:
    """One batch seen through its unique items: every index that a step needs, so that no step waits for one."""

    items: Tensor
    """Catalogue rows of the unique items, ascending, ``(unique,)``."""
    sequences: Tensor
    """The batch with catalogue rows replaced by columns, padding kept, ``(users, position)``."""
    log_multiplicity: Tensor
    """Log of how often each column's item occurs in the batch, ``(unique,)`` float64."""
    predicting: Tensor
    """Where an item follows an item, counted through ``(users, position - 1)``, ``(predictions,)``."""
    positive: Tensor
    """Column of the item that follows there, ``(predictions,)``."""
    own: Tensor
    """Columns of all items of the user predicted for, `PADDING` between, ``(predictions, position)``."""

    def to(self, device: torch.device) -> BatchColumns:
        """Return the columns on a device."""
        return BatchColumns(
            self.items.to(device),
            self.sequences.to(device),
            self.log_multiplicity.to(device),
            self.predicting.to(device),
            self.positive.to(device),
            self.own.to(device),
        )


def batch_columns(sequences: Tensor) -> BatchColumns:
    """Find the unique items of ``(users, position)`` catalogue rows padded with `PADDING`, and what to predict."""
    is_real = sequences != PADDING
    items, inverse, counts = torch.unique(
        sequences[is_real], return_inverse=True, return_counts=True
    )
    columns = torch.full_like(sequences, PADDING)
    columns[is_real] = inverse
    return columns_to_predict(items, columns, counts.double().log())


def columns_to_predict(items: Tensor, columns: Tensor, log_multiplicity: Tensor) -> BatchColumns:
    """Find what to predict in a batch whose catalogue rows are already columns.

    Parameters
    ----------
    items
        Catalogue row of each column, ``(columns,)``.
    columns
        The batch, `PADDING` where there is no item, ``(users, position)``.
    log_multiplicity
        Log of what each column counts for, ``(columns,)``.
    """
    is_real = columns != PADDING
    is_predicting = is_real[:, :-1] & is_real[:, 1:]
    return BatchColumns(
        items,
        columns,
        log_multiplicity,
        is_predicting.flatten().nonzero().squeeze(1),
        columns[:, 1:][is_predicting],
        columns[is_predicting.nonzero()[:, 0]],
    )


def debiased_cross_entropy(
    user_vectors: Tensor,
    item_vectors: Tensor,
    positive: Tensor,
    own: Tensor,
    log_popularity: Tensor,
    log_multiplicity: Tensor,
) -> Tensor:
    """Return the mean of Eq. 8's terms over the predictions, 0 where there is none.

    The logits come and go in blocks, and with each block goes its share of the
    gradient, so that they are never all in memory and never computed twice.

    Parameters
    ----------
    user_vectors
        One per prediction, ``(predictions, width)``.
    item_vectors
        One per unique item of the batch, ``(unique, width)``.
    positive
        Column of the item to predict, ``(predictions,)``.
    own
        Columns of the user's own items, never negatives, `PADDING` where there
        is none, ``(predictions, any)``; the positive counts once whether or not
        it is among them.
    log_popularity
        Log p of each column's item, ``(unique,)``.
    log_multiplicity
        Log of the column's occurrences in the batch, ``(unique,)``.
    """
    multiplicity = log_multiplicity.to(user_vectors.dtype)
    offset = multiplicity - log_popularity.to(user_vectors.dtype)
    # Padding points at the positive, which is written last.
    rejected = torch.where(own == PADDING, positive.unsqueeze(1), own)
    loss: Tensor = _DebiasedCrossEntropy.apply(
        user_vectors, item_vectors, positive, rejected, offset, multiplicity
    )  # type: ignore[no-untyped-call]
    return loss


class _DebiasedCrossEntropy(torch.autograd.Function):
    """The arithmetic of `debiased_cross_entropy`; ``offset`` is what stands beside a score in its column's logit."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        user_vectors: Tensor,
        item_vectors: Tensor,
        positive: Tensor,
        rejected: Tensor,
        offset: Tensor,
        multiplicity: Tensor,
    ) -> Tensor:
        wants_gradient, count = any(ctx.needs_input_grad), max(len(user_vectors), 1)
        total = user_vectors.new_zeros(())
        grad_users = torch.empty_like(user_vectors) if wants_gradient else None
        grad_items = torch.zeros_like(item_vectors) if wants_gradient else None
        for block in _blocks(len(user_vectors), item_vectors):
            users, target = user_vectors[block], positive[block].unsqueeze(1)
            logits = torch.addmm(offset, users, item_vectors.T)
            wanted = logits.gather(1, target) - multiplicity[target]  # the positive counts once
            logits.scatter_(1, rejected[block], float("-inf")).scatter_(1, target, wanted)
            log_shares = logits.log_softmax(dim=1)
            total -= log_shares.gather(1, target).sum()
            if grad_users is not None and grad_items is not None:
                grad_logits = log_shares.exp_().scatter_add_(
                    1, target, log_shares.new_full(target.shape, -1.0)
                )
                torch.mm(grad_logits, item_vectors, out=grad_users[block])
                grad_items.addmm_(grad_logits.T, users)
        if grad_users is not None and grad_items is not None:
            ctx.save_for_backward(grad_users.div_(count), grad_items.div_(count))
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        grad_users, grad_items = ctx.saved_tensors
        return grad_users * grad_loss, grad_items * grad_loss, None, None, None, None


def _blocks(prediction_count: int, item_vectors: Tensor) -> list[slice]:
    """Cut the predictions so that a block's logits fit."""
    room = _CPU_LOGIT_BYTES if item_vectors.device.type == "cpu" else _LOGIT_BYTES
    size = max(1, room // (len(item_vectors) * item_vectors.element_size()))
    return [slice(start, start + size) for start in range(0, prediction_count, size)]


def debiased_loss_of_batch(
    columns: BatchColumns,
    item_vectors: Tensor,
    sequence_encoder: Callable[[Tensor, Tensor], Tensor],
    log_popularity: Tensor,
) -> Tensor:
    """Return the loss of predicting every item of a batch from the items before it.

    Parameters
    ----------
    columns
        The batch, its sequences one item longer than the encoder's input.
    item_vectors
        One per unique item, in the order of ``columns.items``, ``(unique, width)``.
    sequence_encoder
        From ``(users, position, width)`` and ``is_real`` to user vectors.
    log_popularity
        Log p of the whole catalogue, ``(items,)``.
    """
    inputs = columns.sequences[:, :-1]
    # Padding picks up column 0, which the encoder masks. An embedding lookup and not an index: its backward adds
    # up in one order whatever the number of threads, and a resumed run must repeat it bit for bit.
    user_vectors = sequence_encoder(
        F.embedding(inputs.clamp(min=0), item_vectors), inputs != PADDING
    )
    return debiased_cross_entropy(
        user_vectors.flatten(0, 1).index_select(0, columns.predicting),
        item_vectors,
        columns.positive,
        columns.own,
        log_popularity[columns.items],
        columns.log_multiplicity,
    )
