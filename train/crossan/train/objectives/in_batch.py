"""The paper's objective, Eqs. 7-8: negatives are the other users' items of the batch, debiased by popularity."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from crossan.train.features import FeatureTable
from crossan.train.model import Crossan
from crossan.train.step import LossOfBatch

__all__ = ["InBatch"]


class InBatch:
    """In-batch debiased cross entropy; nothing is remembered.

    Parameters
    ----------
    log_popularity
        Log p of the catalogue, ``(items,)``.
    loss_of
        The step that trains, or its slow twin.
    """

    def __init__(self, log_popularity: Tensor, loss_of: LossOfBatch) -> None:
        self._log_popularity, self._loss_of = log_popularity, loss_of

    def loss(self, model: Crossan, features: FeatureTable, sequences: Tensor) -> Tensor:
        """Return the loss of a batch, see `crossan.train.step`."""
        return self._loss_of(model, features, sequences, self._log_popularity)

    def state(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Do nothing: there is nothing to remember."""
