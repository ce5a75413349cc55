r"""Mean and variance of every kept layer across items, gathered block by block.

Blocks are merged as Chan, Golub and LeVeque do (Updating formulae and a pairwise
algorithm for computing sample variances, 1979): with counts :math:`n_a, n_b`,
means :math:`\mu_a, \mu_b` and sums of squared deviations :math:`S_a, S_b`,

.. math:: \mu = \mu_a + \delta \frac{n_b}{n}, \quad
   S = S_a + S_b + \|\delta\|^2 \frac{n_a n_b}{n}, \qquad \delta = \mu_b - \mu_a.

One pass is enough, and nothing cancels where a mean is large beside its
deviation, as it is in the lower layers of a backbone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.common.console import progress
from crossan.common.stores import FeatureStore
from crossan.common.stores.describing.info import NO_INFORMATION

__all__ = ["LayerMoments", "MomentSums", "layer_moments"]

_BLOCK = 1_024
"""Items read at a time."""

Moments = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerMoments:
    """What the kept layers of one modality are like across items.

    Shapes: ``mean`` ``(layer, dim)``, ``variance`` ``(layer,)``, the mean over
    items and ``dim`` of the squared deviation from the mean.
    """

    items: int
    """Items that the moments are of."""
    mean: Moments
    variance: Moments

    @property
    def mean_square(self) -> Moments:
        """Mean square of the numbers of each layer, ``(layer,)``."""
        mean_square: Moments = self.variance + np.square(self.mean).mean(axis=1)
        return mean_square

    @property
    def share(self) -> Moments:
        """Variance of each layer as a share of its mean square, 0 to 1, ``(layer,)``.

        The rest of the mean square is the same for all items.
        """
        mean_square = self.mean_square
        share: Moments = self.variance / np.where(mean_square > 0, mean_square, 1.0)
        return share

    @property
    def is_flat(self) -> npt.NDArray[np.bool_]:
        """Which layers do not differ between items by more than rounding does, ``(layer,)``.

        Without items there is nothing to tell.
        """
        return (self.share < NO_INFORMATION) & (self.items > 0)


class MomentSums:
    """Add up hidden states, block by block, in float64.

    The same blocks in the same order give the same bits on every machine: sums
    over items are added row by row by one thread.

    Parameters
    ----------
    layer_count, dim
        Those of the hidden states.
    """

    def __init__(self, layer_count: int, dim: int) -> None:
        self._items = 0
        self._mean = np.zeros((layer_count, dim))
        self._squares = np.zeros(layer_count)

    def add(self, states: npt.NDArray[Any]) -> None:
        """Add the hidden states of some items, ``(items, layer, dim)`` in any float dtype."""
        added = len(states)
        if not added:
            return
        before, total = self._items, self._items + added
        # Layer by layer: all of them in float64 would be four times the float16 block.
        for layer in range(states.shape[1]):
            block = states[:, layer].astype(np.float64)
            mean = block.sum(axis=0) / added
            block -= mean
            np.square(block, out=block)
            step = mean - self._mean[layer]
            self._mean[layer] += step * (added / total)
            self._squares[layer] += block.sum(axis=0).sum()
            self._squares[layer] += np.square(step).sum() * (before * added / total)
        self._items = total

    def moments(self) -> LayerMoments:
        """Return the moments of all that was added, zeros where nothing was."""
        count = max(self._items, 1) * self._mean.shape[1]
        return LayerMoments(self._items, self._mean.copy(), self._squares / count)


def layer_moments(
    store: FeatureStore, rows: npt.NDArray[np.int64], layers: tuple[int, ...]
) -> LayerMoments:
    """Return the moments of some rows of a store.

    Parameters
    ----------
    store
        What is read, block by block.
    rows
        Its rows, all of them present, ``(items,)``. Another order rounds otherwise.
    layers
        Numbers of the layers to read.
    """
    sums = MomentSums(len(layers), store.dim)
    label = f"statistics of {store.identity.modality.value}"
    with progress(label, len(rows), "items") as shown:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            # Not mapped, as `StoredStates` reads: `--max-ram` counts pages of a mapped file.
            sums.add(store.read(block, layers, is_mapped=False))
            shown.advance(len(block))
    return sums.moments()
