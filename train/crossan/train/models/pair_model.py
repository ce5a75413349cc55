r"""Scores that are sums of what the items of a history add, as all models of item pairs have.

With :math:`P` the pairs and :math:`i_0, i_1, ...` the history of user u, the last
item first,

.. math:: s_{uj} = \sum_{a < w} d^a P_{i_a j},

where w is the window and d the decay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from crossan.train.layers.item_pairs import ItemPairs
from crossan.train.sequences.flat import flat

__all__ = ["PairModel"]


class PairModel(nn.Module):
    """Add up the pairs of the items in a history.

    Parameters
    ----------
    pairs
        What each item adds to the others.
    decay
        What an item counts beside the one that came after it.
    window
        Items of the history that are read at most, the last ones; None for all.
    counts_repeats
        Whether an item that occurs twice in a history counts twice.
    """

    def __init__(
        self,
        pairs: ItemPairs,
        decay: float = 1.0,
        window: int | None = None,
        *,
        counts_repeats: bool = True,
    ) -> None:
        super().__init__()
        self.pairs = pairs
        self.decay, self.window, self._counts_repeats = decay, window, counts_repeats

    def base_scores(self) -> Tensor:
        """Return zeros, ``(items,)`` float64, in which sums of float32 gains do not round."""
        item_count, device = self.pairs.item_count, self.pairs.gains.device
        return torch.zeros(item_count, dtype=torch.float64, device=device)

    def scores_after(self, history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what a history adds to the scores, as `gains` does for many."""
        gains = self.gains()([history])
        return gains.indices.astype(np.int64), gains.data

    def gains(self) -> Callable[[Sequence[np.ndarray]], sparse.csr_array]:
        """Return a function from histories to what they add, ``(users, items)`` float64."""
        table = self.pairs.table()

        def gains_of(histories: Sequence[np.ndarray]) -> sparse.csr_array:
            return sparse.csr_array(self._weights(histories) @ table)

        return gains_of

    def _weights(self, histories: Sequence[np.ndarray]) -> sparse.csr_array:
        """Return what each item counts in each history, ``(users, items)``."""
        sequences = flat(histories)
        ages = sequences.ages
        is_read = ages < (np.inf if self.window is None else self.window)
        places = (sequences.users[is_read], sequences.items[is_read])
        shape = (len(histories), self.pairs.item_count)
        weights = sparse.csr_array((self.decay ** ages[is_read].astype(float), places), shape)
        weights.sum_duplicates()
        if not self._counts_repeats:
            weights.data[:] = 1.0
        return weights
