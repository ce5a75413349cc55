"""A loss that somebody wrote as one function of the scores of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from crossan.cache_schema.errors import ConfigError
from crossan.train.features import Fetched, ItemInputs
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.columns import BatchColumns, batch_columns
from crossan.train.objectives.step import Prepared
from crossan.train.sequences.padding import PADDING

__all__ = ["BatchScores", "LossOfScores", "OwnLoss"]


@dataclass(frozen=True, slots=True)
class BatchScores:
    """The scores of a batch, a row for each prediction and a column for each distinct item.

    A prediction is an item of a user's training part that follows another.
    """

    scores: Tensor
    """User vector times item vector, ``(predictions, items)``."""

    positive: Tensor
    """Column of the item that follows, ``(predictions,)`` int64."""

    is_negative: Tensor
    """Which items are none of the user's, ``(predictions, items)`` bool."""

    counts: Tensor
    """How often each item occurs in the batch, ``(items,)``."""

    log_popularity: Tensor
    """Log p of each item (Eq. 7), ``(items,)``."""


LossOfScores = Callable[[BatchScores], Tensor]
"""From the scores of a batch to a loss, a tensor of one number."""


class OwnLoss:
    """Minimise a function of the scores of a batch, which remembers nothing between steps.

    Parameters
    ----------
    loss
        The function.
    log_popularity
        Log p of the catalogue, ``(items,)``.
    name
        What the function is called in settings, for errors.
    """

    def __init__(self, loss: LossOfScores, log_popularity: Tensor, name: str) -> None:
        self._loss, self._log_popularity, self._name = loss, log_popularity, name

    def prepare(self, features: ItemInputs, sequences: Tensor) -> Prepared:
        """Find the distinct items of a batch and begin to gather them."""
        columns = batch_columns(sequences)
        fetched = features.fetch(columns.items)
        return lambda model: self._loss_of(model, columns, fetched)

    def state(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Do nothing, as there is nothing to remember."""

    def _loss_of(self, model: SequenceModel, columns: BatchColumns, fetched: Fetched) -> Tensor:
        columns = columns.to(self._log_popularity.device)
        item_vectors = model.item_vectors(fetched, columns.items)
        # A lookup and not an index, whose gradient threads would add up in any order.
        user_vectors = model.sequence_encoder.packed(
            F.embedding(columns.inputs, item_vectors), columns.packing
        )
        loss = self._loss(self._batch(user_vectors @ item_vectors.T, columns))
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ConfigError(
                f"objective.kind={self._name}: expected a tensor of one number as the loss of a"
                f" batch, got {shape}"
            )
        if not loss.requires_grad:
            raise ConfigError(
                f"objective.kind={self._name}: expected a loss that depends on batch.scores by"
                " operations of torch, got one without a gradient"
            )
        return loss.reshape(())

    def _batch(self, scores: Tensor, columns: BatchColumns) -> BatchScores:
        # Padding points at the positive, which is the user's too.
        positive = columns.positive.unsqueeze(1)
        user_items = columns.user_items.where(columns.user_items != PADDING, positive)
        return BatchScores(
            scores,
            columns.positive,
            torch.ones_like(scores, dtype=torch.bool).scatter(1, user_items, False),
            columns.log_multiplicity.exp().to(scores.dtype),
            self._log_popularity[columns.items].to(scores.dtype),
        )
