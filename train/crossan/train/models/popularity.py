"""Popularity as a recommender, which shows everybody the items with the highest counts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from crossan.train.models.recommender import ModelContext
from crossan.train.settings import PopularitySettings

__all__ = ["Popularity", "build"]


class Popularity(nn.Module):
    """Score an item by how often it occurs in training, whoever the user is.

    Parameters
    ----------
    counts
        Training count of each catalogue row, ``(items,)``. Items of equal count tie.
    """

    counts: Tensor

    def __init__(self, counts: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("counts", torch.from_numpy(counts.astype(np.float32)))

    def base_scores(self) -> Tensor:
        """Return the counts, ``(items,)`` float32."""
        return self.counts

    def scores_after(self, history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return nothing, as a history changes no count."""
        del history
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)

    def item_rows(self) -> tuple[str, ...]:
        """Return the name of the counts."""
        return ("counts",)


def build(settings: PopularitySettings, context: ModelContext) -> Popularity:
    """Count the items of all training parts."""
    del settings  # there is nothing to choose
    return Popularity(context.counts)
