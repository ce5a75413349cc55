"""The items of a batch as columns, and what to predict in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crossan.train.layers.packing import Packing
from crossan.train.sequences.padding import PADDING

__all__ = ["BatchColumns", "batch_columns", "columns_to_predict"]


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
    """1 for each prediction and 0 for those that fill up a bucket, ``(predictions,)`` float64.

    None where nothing was filled up, see `crossan.train.objectives.buckets`.
    """
    share: Tensor | None = None
    """This rank's share of the predictions of all ranks, ``(1,)`` float64.

    None where one rank has all, and where no bucket hides how many there are.
    """
    log_q: Tensor | None = None
    """What is subtracted from the score of each column, ``(unique,)`` float64; None for log p."""
    log_weight: Tensor | None = None
    """What is added to the logit of every negative of a prediction, ``(predictions,)`` float64.

    The positive then has no correction, see `crossan.train.objectives.candidates`. None for Eq. 7.
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
            *(
                None if part is None else part.to(device)
                for part in (self.counts, self.share, self.log_q, self.log_weight)
            ),
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
