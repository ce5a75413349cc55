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

import torch
from torch import Tensor

__all__ = ["PADDING", "BatchColumns", "batch_columns", "debiased_cross_entropy", "debiased_loss_of_batch"]

PADDING = -1
"""What stands in a sequence where there is no item."""


@dataclass(frozen=True, slots=True)
class BatchColumns:
    """One batch seen through its unique items."""

    items: Tensor
    """Catalogue rows of the unique items, ascending, ``(unique,)``."""
    sequences: Tensor
    """The batch with catalogue rows replaced by columns, padding kept, ``(users, position)``."""
    log_multiplicity: Tensor
    """Log of how often each column's item occurs in the batch, ``(unique,)`` float64."""
    is_rejected: Tensor
    """Whether the column's item is one of the user's own, ``(users, unique)`` bool."""


def batch_columns(sequences: Tensor) -> BatchColumns:
    """Find the unique items of ``(users, position)`` catalogue rows padded with `PADDING`."""
    is_real = sequences != PADDING
    items, inverse, counts = torch.unique(sequences[is_real], return_inverse=True, return_counts=True)
    columns = torch.full_like(sequences, PADDING)
    columns[is_real] = inverse
    is_rejected = torch.zeros(len(sequences), len(items), dtype=torch.bool, device=sequences.device)
    users = torch.arange(len(sequences), device=sequences.device).unsqueeze(1).expand_as(sequences)
    is_rejected[users[is_real], inverse] = True
    return BatchColumns(items, columns, counts.double().log(), is_rejected)


def debiased_cross_entropy(
    user_vectors: Tensor,
    item_vectors: Tensor,
    positive: Tensor,
    is_rejected: Tensor,
    log_popularity: Tensor,
    log_multiplicity: Tensor,
) -> Tensor:
    """Return the mean of Eq. 8's terms over the rows.

    Parameters
    ----------
    user_vectors
        One row per predicted position, ``(rows, width)``.
    item_vectors
        One per unique item of the batch, ``(unique, width)``.
    positive
        Column of the item to predict, ``(rows,)``.
    is_rejected
        Columns of the row's user's own items, never negatives, ``(rows, unique)``
        bool; the positive counts once whether or not it is among them.
    log_popularity
        Log p of each column's item, ``(unique,)``.
    log_multiplicity
        Log of the column's occurrences in the batch, ``(unique,)``.
    """
    scores = user_vectors @ item_vectors.T - log_popularity
    wanted = scores.gather(1, positive.unsqueeze(1))
    is_negative = (~is_rejected).scatter(1, positive.unsqueeze(1), False)
    negatives = (scores + log_multiplicity.to(scores.dtype)).masked_fill(~is_negative, float("-inf"))
    return (torch.cat([wanted, negatives], dim=1).logsumexp(dim=1) - wanted.squeeze(1)).mean()


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
    inputs, wanted = columns.sequences[:, :-1], columns.sequences[:, 1:]
    is_real = inputs != PADDING
    # Padding picks up column 0, which the encoder masks.
    user_vectors = sequence_encoder(item_vectors[inputs.clamp(min=0)], is_real)
    is_row = is_real & (wanted != PADDING)
    return debiased_cross_entropy(
        user_vectors[is_row],
        item_vectors,
        wanted[is_row],
        columns.is_rejected[is_row.nonzero()[:, 0]],
        log_popularity[columns.items],
        columns.log_multiplicity,
    )
