"""The pairs of a user and a training item, and the graphs of some of them."""

from __future__ import annotations

import numpy as np
import torch

from crossan.train.layers.graph import normalised_bipartite
from crossan.train.layers.sparse_matrix import SparseMatrix

__all__ = ["TrainingPairs"]

_EPSILON = 1e-7
"""Added to every degree, as in MMRec's code."""


class TrainingPairs:
    """The pairs of users and items that edges are made of, and what is drawn from them.

    Parameters
    ----------
    users, items
        ``(pairs,)`` each, no pair twice.
    user_count, item_count
        Users and items in all.
    """

    def __init__(
        self, users: np.ndarray, items: np.ndarray, user_count: int, item_count: int
    ) -> None:
        self.users, self.items = users, items
        self.user_count, self.item_count = user_count, item_count

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.users)

    def graph(self, chosen: np.ndarray | slice, device: torch.device) -> SparseMatrix:
        """Return the graph of some pairs, normalised by their own degrees."""
        pairs = self.users[chosen], self.items[chosen]
        matrix = normalised_bipartite(*pairs, self.user_count, self.item_count, epsilon=_EPSILON)
        return SparseMatrix(matrix, device, is_symmetric=True)

    def weights(self) -> np.ndarray:
        """Return what the probability of keeping each pair is proportional to, ``(pairs,)``."""
        by_user, by_item = (
            np.bincount(nodes, minlength=count) + _EPSILON
            for nodes, count in ((self.users, self.user_count), (self.items, self.item_count))
        )
        weights: np.ndarray = 1 / np.sqrt(by_user[self.users] * by_item[self.items])
        return weights

    def draw(self, kept_count: int, random: np.random.Generator) -> np.ndarray:
        """Return the numbers of so many pairs, drawn without replacement, in rising order."""
        # 1 - U, as a draw may be 0 and is never 1.
        keys = np.log1p(-random.random(len(self.users))) / self.weights()
        return np.sort(np.argsort(keys)[len(keys) - kept_count :])
