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
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.layers.packing import Packing
from crossan.train.sequences.padding import PADDING

__all__ = [
    "BatchColumns",
    "batch_columns",
    "columns_to_predict",
    "debiased_cross_entropy",
    "debiased_loss_of_batch",
]

_CPU_LOGIT_BYTES = 2 << 20
"""Size of the logits alive at once on a CPU, which its cache holds."""
_LOGIT_BYTES = 256 << 20
"""The same on an accelerator."""


@dataclass(frozen=True, slots=True)
class BatchColumns:
    """Every index that the step of one batch needs, worked out before the step.

    A column is a unique item of the batch.
    """

    items: Tensor
    """Catalogue rows of the unique items, ascending, ``(unique,)``."""
    log_multiplicity: Tensor
    """Log of how often each column's item occurs in the batch, ``(unique,)`` float64."""
    packing: Packing
    """Positions where an item follows an item, of ``(users, position - 1)``."""
    inputs: Tensor
    """Column of the item at each of them, ``(predictions,)``."""
    positive: Tensor
    """Column of the item that follows, ``(predictions,)``."""
    user_items: Tensor
    """Columns of all items of the prediction's user, which are never its negatives.

    Shape ``(predictions, position)``, with `PADDING` between.
    """
    counts: Tensor | None = None
    """1 for each prediction and 0 for those that fill it up to a bucket, ``(predictions,)`` float64.

    None where nothing was filled up, see `crossan.train.objectives.buckets`.
    """
    share: Tensor | None = None
    """This rank's share of the predictions of all ranks, ``(1,)`` float64.

    None where one rank has all, and where no bucket hides how many there are.
    """

    def to(self, device: torch.device) -> BatchColumns:
        """Return the columns on a device."""
        return BatchColumns(
            self.items.to(device),
            self.log_multiplicity.to(device),
            self.packing.to(device),
            self.inputs.to(device),
            self.positive.to(device),
            self.user_items.to(device),
            None if self.counts is None else self.counts.to(device),
            None if self.share is None else self.share.to(device),
        )


def batch_columns(sequences: Tensor) -> BatchColumns:
    """Return the unique items of a batch and what to predict in it.

    ``sequences`` are ``(users, position)`` catalogue rows padded with `PADDING`.
    """
    is_real = sequences != PADDING
    items, inverse, counts = torch.unique(
        sequences[is_real], return_inverse=True, return_counts=True
    )
    columns = torch.full_like(sequences, PADDING)
    columns[is_real] = inverse
    return columns_to_predict(items, columns, counts.double().log())


def columns_to_predict(items: Tensor, columns: Tensor, log_multiplicity: Tensor) -> BatchColumns:
    """Return what to predict in a batch that is already written in columns.

    Parameters
    ----------
    items
        Catalogue row of each column, ``(columns,)``.
    columns
        The batch, `PADDING` where there is no item, ``(users, position)``.
    log_multiplicity
        Log of how often each column counts, ``(columns,)``.
    """
    is_real = columns != PADDING
    # Padding is on the left. So an item without a predecessor is a sequence's first: it is not
    # predicted, as nothing says what it should follow from. And every item but the last has a
    # successor: what predicts is all that the encoder has to read.
    is_predicting = is_real[:, :-1] & is_real[:, 1:]
    packing = Packing.of(is_predicting)
    return BatchColumns(
        items,
        log_multiplicity,
        packing,
        columns[:, :-1].flatten()[packing.places],
        columns[:, 1:].flatten()[packing.places],
        columns[packing.places // is_predicting.shape[1]],
    )


def debiased_cross_entropy(
    user_vectors: Tensor,
    item_vectors: Tensor,
    positive: Tensor,
    user_items: Tensor,
    log_popularity: Tensor,
    log_multiplicity: Tensor,
    counts: Tensor | None = None,
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
    """
    multiplicity = log_multiplicity.to(user_vectors.dtype)
    offset = multiplicity - log_popularity.to(user_vectors.dtype)
    # Padding points at the positive: its logit is written after those of the rejected columns.
    rejected = torch.where(user_items == PADDING, positive.unsqueeze(1), user_items)
    if counts is not None:
        counts = counts.to(user_vectors.dtype)
        # A user vector of zeros takes no gradient to the items, and the mask takes none to it.
        # Whatever stands where nothing is predicted is not read, NaN included.
        user_vectors = user_vectors.masked_fill(counts.unsqueeze(1) == 0, 0.0)
    loss: Tensor = _DebiasedCrossEntropy.apply(
        user_vectors, item_vectors, positive, rejected, offset, multiplicity, counts
    )  # type: ignore[no-untyped-call]
    return loss


class _DebiasedCrossEntropy(torch.autograd.Function):
    """The arithmetic of `debiased_cross_entropy`.

    ``offset`` is what is added to a score to make the logit of its column, and
    ``counts`` has no prediction with another user vector than zeros where it is 0. The
    gradient is computed in `forward`, where the logits are, and scaled later.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        user_vectors: Tensor,
        item_vectors: Tensor,
        positive: Tensor,
        rejected: Tensor,
        offset: Tensor,
        multiplicity: Tensor,
        counts: Tensor | None,
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
            # The positive is one item, not all its occurrences in the batch: its log c is taken out
            # again. It is read before the user's items are rejected, of which it may be one.
            positive_logit = logits.gather(1, target) - multiplicity[target]
            logits.scatter_(1, rejected[block], float("-inf")).scatter_(1, target, positive_logit)
            log_shares = logits.log_softmax(dim=1)
            terms = log_shares.gather(1, target)
            total -= terms.sum() if counts is None else (terms[:, 0] * counts[block]).sum()
            if grad_users is not None and grad_items is not None:
                # The gradient of cross entropy is the softmax, less 1 at the positive.
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
        return grad_users * grad_loss, grad_items * grad_loss, None, None, None, None, None


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
        Log p of the whole catalogue, ``(items,)``.
    """
    # An embedding lookup and not an index, because its backward adds up in one order whatever the
    # number of threads, and a resumed run must repeat it bit for bit.
    user_vectors = encode(F.embedding(columns.inputs, item_vectors), columns.packing)
    return debiased_cross_entropy(
        user_vectors,
        item_vectors,
        columns.positive,
        columns.user_items,
        log_popularity[columns.items],
        columns.log_multiplicity,
        columns.counts,
    )
