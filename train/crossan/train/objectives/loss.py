r"""In-batch debiased cross entropy, Eqs. 7-8, over the unique items of a batch.

The denominator of Eq. 7 sums over every *occurrence* j in the batch of an item
that is not one of the user's. Occurrences of one item share its score, so with
:math:`c_j` occurrences of item j

.. math:: D_{ui} = \exp(\hat y_{ui} - \log p_i)
   + \sum_{j \notin I_u} c_j \exp(\hat y_{uj} - \log p_j),

the sum now over unique items. Each is one column, with :math:`\log c_j` added
to its logit. Nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.layers.packing import Packing
from crossan.train.objectives.columns import BatchColumns
from crossan.train.sequences.padding import PADDING

__all__ = [
    "EQ_7",
    "Softmax",
    "debiased_cross_entropy",
    "debiased_loss_of_batch",
]

_CPU_LOGIT_BYTES = 2 << 20
"""Size of the logits alive at once on a CPU, which its cache holds."""
_LOGIT_BYTES = 256 << 20
"""The same on an accelerator."""


@dataclass(frozen=True, slots=True)
class Softmax:
    """What a softmax does beside Eq. 7."""

    temperature: float = 1.0
    """What scores are divided by."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over the items a prediction chooses between.

    Each of them counts once, however often it occurs, and the positive is among them.
    """
    log_weight: Tensor | None = None
    """As `BatchColumns.log_weight`."""


EQ_7 = Softmax()
"""Nothing beside Eq. 7."""


def debiased_cross_entropy(
    user_vectors: Tensor,
    item_vectors: Tensor,
    positive: Tensor,
    user_items: Tensor,
    log_popularity: Tensor,
    log_multiplicity: Tensor,
    counts: Tensor | None = None,
    softmax: Softmax = EQ_7,
) -> Tensor:
    """Return the mean of the terms of Eq. 8 over the predictions, 0 where there is none.

    The logits are computed in blocks, and the gradient of each block along with
    them, so that they are never all in memory and never computed twice.

    Parameters
    ----------
    user_vectors
        One per prediction, ``(predictions, width)``.
    item_vectors
        One per unique item of the batch, ``(unique, width)``.
    positive
        Column of the item to predict, ``(predictions,)``.
    user_items
        Columns of the user's items, which are never negatives, with `PADDING`
        where there is none, ``(predictions, any)``. The positive counts once,
        whether or not it is among them.
    log_popularity
        Log p of each column's item, ``(unique,)``.
    log_multiplicity
        Log of the column's occurrences in the batch, ``(unique,)``. A column that only fills up
        a bucket has the log of 0, which makes it nobody's negative.
    counts
        1 for the predictions that are meant, 0 for those that only fill up a bucket,
        ``(predictions,)``; by default all are meant.
    softmax
        What is done beside Eq. 7.
    """
    multiplicity = log_multiplicity.to(user_vectors.dtype)
    offset = multiplicity - log_popularity.to(user_vectors.dtype)
    # The positive is one item, not all its occurrences in the batch: its log c is taken out again.
    taken_out = multiplicity[positive]
    if softmax.log_weight is not None:
        # No softmax changes where all of its logits move: the weight of every negative is taken
        # from the one positive.
        taken_out = offset[positive] + softmax.log_weight.to(user_vectors.dtype)
    if softmax.temperature != 1.0:
        user_vectors = user_vectors / softmax.temperature
    # Padding points at the positive: its logit is written after those of the rejected columns.
    rejected = torch.where(user_items == PADDING, positive.unsqueeze(1), user_items)
    if counts is not None:
        counts = counts.to(user_vectors.dtype)
        # A user vector of zeros takes no gradient to the items, and the mask takes none to it.
        # Whatever stands where nothing is predicted is not read, NaN included.
        user_vectors = user_vectors.masked_fill(counts.unsqueeze(1) == 0, 0.0)
    loss: Tensor = _DebiasedCrossEntropy.apply(
        *(user_vectors, item_vectors, positive, rejected, offset, taken_out, counts),
        softmax.label_smoothing,
    )  # type: ignore[no-untyped-call]
    return loss


class _DebiasedCrossEntropy(torch.autograd.Function):
    """The arithmetic of `debiased_cross_entropy`.

    ``offset`` is what is added to a score to make the logit of its column, ``taken_out`` what is
    subtracted from that to make the logit of a positive. Where ``counts`` is 0 the user vector is
    zero. The gradient is computed in `forward`, where the logits are, and scaled later.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        user_vectors: Tensor,
        item_vectors: Tensor,
        positive: Tensor,
        rejected: Tensor,
        offset: Tensor,
        taken_out: Tensor,
        counts: Tensor | None,
        smoothing: float,
    ) -> Tensor:
        needs_gradient = any(ctx.needs_input_grad)
        # A tensor where a bucket hides how many there are: a device is not waited for.
        count = max(len(user_vectors), 1) if counts is None else counts.sum().clamp(min=1.0)
        total = user_vectors.new_zeros(())
        grad_users = torch.empty_like(user_vectors) if needs_gradient else None
        grad_items = torch.zeros_like(item_vectors) if needs_gradient else None
        for block in _blocks(len(user_vectors), item_vectors):
            users, target = user_vectors[block], positive[block].unsqueeze(1)
            logits = torch.addmm(offset, users, item_vectors.T)
            # Read before the user's items are rejected, of which the positive may be one.
            positive_logit = logits.gather(1, target) - taken_out[block].unsqueeze(1)
            logits.scatter_(1, rejected[block], float("-inf")).scatter_(1, target, positive_logit)
            log_shares = logits.log_softmax(dim=1)
            terms = log_shares.gather(1, target)
            even = None
            if smoothing:
                even = _even_shares(log_shares)
                spread = (log_shares.nan_to_num(neginf=0.0) * even).sum(dim=1, keepdim=True)
                terms = terms.mul(1.0 - smoothing).add_(spread, alpha=smoothing)
            total -= terms.sum() if counts is None else (terms[:, 0] * counts[block]).sum()
            if grad_users is not None and grad_items is not None:
                # The gradient of cross entropy is the softmax, less its target.
                grad_logits = log_shares.exp_().scatter_add_(
                    1, target, log_shares.new_full(target.shape, smoothing - 1.0)
                )
                if even is not None:
                    grad_logits.sub_(even, alpha=smoothing)
                torch.mm(grad_logits, item_vectors, out=grad_users[block])
                grad_items.addmm_(grad_logits.T, users)
        if grad_users is not None and grad_items is not None:
            ctx.save_for_backward(grad_users.div_(count), grad_items.div_(count))
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        grad_users, grad_items = ctx.saved_tensors
        return grad_users * grad_loss, grad_items * grad_loss, *[None] * 6


def _even_shares(log_shares: Tensor) -> Tensor:
    """Return one share for each column that a prediction may choose, 0 for the others."""
    is_candidate = log_shares.isneginf().logical_not_().to(log_shares.dtype)
    return is_candidate / is_candidate.sum(dim=1, keepdim=True)


def _blocks(prediction_count: int, item_vectors: Tensor) -> list[slice]:
    """Cut the predictions into blocks whose logits fit."""
    most_bytes = _CPU_LOGIT_BYTES if item_vectors.device.type == "cpu" else _LOGIT_BYTES
    size = max(1, most_bytes // (len(item_vectors) * item_vectors.element_size()))
    return [slice(start, start + size) for start in range(0, prediction_count, size)]


def debiased_loss_of_batch(
    columns: BatchColumns,
    item_vectors: Tensor,
    encode: Callable[[Tensor, Packing], Tensor],
    log_popularity: Tensor,
    softmax: Softmax = EQ_7,
) -> Tensor:
    """Return the loss of predicting every item of a batch from the items before it.

    Parameters
    ----------
    columns
        The batch, with sequences one item longer than the encoder's input.
    item_vectors
        One per unique item, in the order of ``columns.items``, ``(unique, width)``.
    encode
        Makes user vectors ``(predictions, width)`` from the vectors of the inputs, of the same
        shape, and their packing, as `SequenceEncoder.packed`.
    log_popularity
        Log p of the whole catalogue, ``(items,)``; not read where the columns have their own.
    softmax
        What is done beside Eq. 7. Weights of negatives are those of the columns.
    """
    # An embedding lookup and not an index, because its backward adds up in one order whatever the
    # number of threads, and a resumed run must repeat it bit for bit.
    user_vectors = encode(F.embedding(columns.inputs, item_vectors), columns.packing)
    return debiased_cross_entropy(
        user_vectors,
        item_vectors,
        columns.positive,
        columns.user_items,
        log_popularity[columns.items] if columns.log_q is None else columns.log_q,
        columns.log_multiplicity,
        columns.counts,
        replace(softmax, log_weight=columns.log_weight),
    )
