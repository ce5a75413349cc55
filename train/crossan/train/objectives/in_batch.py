"""The paper's objective, in-batch debiased cross entropy (Eqs. 7-8).

The negatives of a prediction are the items of the other users in the batch. Popular
items are there more often, which the popularity term corrects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from crossan.train.features import ItemInputs
from crossan.train.objectives.step import Prepared

__all__ = ["InBatch"]


class InBatch:
    """In-batch debiased cross entropy, which remembers nothing between steps.

    Parameters
    ----------
    log_popularity
        Log p of the catalogue, ``(items,)``.
    prepare
        The step that trains, its slow twin, or one rank's share of it.
    """

    def __init__(
        self, log_popularity: Tensor, prepare: Callable[[ItemInputs, Tensor, Tensor], Prepared]
    ) -> None:
        self._log_popularity, self._prepare = log_popularity, prepare

    def prepare(self, features: ItemInputs, sequences: Tensor) -> Prepared:
        """Prepare the loss of a batch, see `crossan.train.objectives.step`."""
        return self._prepare(features, sequences, self._log_popularity)

    def state(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Do nothing, as there is nothing to remember."""
