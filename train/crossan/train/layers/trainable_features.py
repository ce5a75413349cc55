"""Features of items that are learned on from what a store holds, and their projection."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

__all__ = ["TrainableFeatures"]


class TrainableFeatures(nn.Module):
    """The features of one modality, of which a step reads the rows of its batch alone.

    Parameters
    ----------
    states
        Hidden states, ``(items, dim)``, zero where an item has none. They become the table, and
        change where that is trained.
    is_present
        Which items have the modality, ``(items,)`` bool.
    width
        Width of the projections.
    is_trained
        Whether the table is learned, too.
    """

    is_present: Tensor

    def __init__(
        self, states: Tensor, is_present: Tensor, width: int, *, is_trained: bool = True
    ) -> None:
        super().__init__()
        if is_trained:
            self.table = nn.Parameter(states)
        else:
            # The store's, and no weight: a checkpoint leaves it out.
            self.register_buffer("table", states, persistent=False)
        self.register_buffer("is_present", is_present, persistent=False)
        self.projection = nn.Linear(states.shape[1], width)
        self._is_whole = bool(is_present.all())

    def rows(self, items: Tensor) -> Tensor:
        """Return the features of some items, ``(items, dim)``.

        Their gradient is sparse: a dense one would have a row of zeros for every other item.
        """
        return F.embedding(items, self.table, sparse=self.table.requires_grad)

    def mean(self, losses: Tensor, *items: Tensor) -> Tensor:
        """Return the mean over those losses whose items all have the modality, 0 of none.

        Parameters
        ----------
        losses
            ``(losses,)``.
        items
            Catalogue rows of the items of each, ``(losses,)`` of every tensor.
        """
        if self._is_whole:
            return losses.mean()
        counts = torch.stack([self.is_present[rows] for rows in items]).all(dim=0)
        # Those that do not count are zero, and so is their gradient.
        return losses.masked_fill(~counts, 0.0).sum() / counts.sum().clamp(min=1)
