r"""The hybrid of three training-free lines: a Markov chain, item-kNN and title-kNN.

With :math:`s^p_u` the scores of part p, zeros at the items of the history,

.. math:: s_u = \sum_p w_p \frac{s^p_u}{\lVert s^p_u \rVert_2}.

The length makes the parts comparable for every user, whatever they count. A part
that knows nothing of a user adds nothing. No publication has this rule. Of
dividing by the largest score, by the sum and by the length, with weights of 0 to 1,
the length with equal weights was best on validation of MicroLens-50K.

The parts are the kinds of the same names with their defaults, but for the shrinkage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from crossan.train.models import item_knn, markov, title_knn
from crossan.train.models.pair_model import PairModel
from crossan.train.models.recommender import ModelContext
from crossan.train.sequences.flat import flat
from crossan.train.settings import (
    HybridSettings,
    ItemKnnSettings,
    MarkovSettings,
    TitleKnnSettings,
)

__all__ = ["Hybrid", "build"]


class Hybrid(nn.Module):
    """Add up the scores of several models, each user's brought to one length.

    Parameters
    ----------
    parts
        The models by name.
    weights
        What the scores of each count.
    """

    def __init__(self, parts: Mapping[str, PairModel], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self._weights = weights

    def base_scores(self) -> Tensor:
        """Return zeros, ``(items,)`` float64."""
        base: Tensor = next(iter(self._models().values())).base_scores()
        return torch.zeros_like(base)

    def scores_after(self, history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what a history adds to the scores, as `gains` does for many."""
        gains = self.gains()([history])
        return gains.indices.astype(np.int64), gains.data

    def gains(self) -> Callable[[Sequence[np.ndarray]], sparse.csr_array]:
        """Return a function from histories to what they add, ``(users, items)`` float64."""
        of_parts = {name: model.gains() for name, model in self._models().items()}

        def gains_of(histories: Sequence[np.ndarray]) -> sparse.csr_array:
            total = None
            for name, gains_of_part in of_parts.items():
                scaled = self._weights[name] * _of_one_length(gains_of_part(histories), histories)
                total = scaled if total is None else total + scaled
            return sparse.csr_array(total)

        return gains_of

    def _models(self) -> dict[str, PairModel]:
        return {name: part for name, part in self.parts.items() if isinstance(part, PairModel)}


def _of_one_length(gains: sparse.csr_array, histories: Sequence[np.ndarray]) -> sparse.csr_array:
    """Return gains without those of each history's own items, each row of length 1 or empty."""
    sequences = flat(histories)
    places = (sequences.users, sequences.items)
    seen = sparse.csr_array((np.ones(len(sequences.items)), places), shape=gains.shape)
    seen.sum_duplicates()
    seen.data[:] = 1.0
    others = sparse.csr_array(gains - gains.multiply(seen))
    lengths = np.sqrt(np.asarray(others.multiply(others).sum(axis=1)).ravel())
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    others.data *= np.repeat(scale, np.diff(others.indptr))
    return others


def build(settings: HybridSettings, context: ModelContext) -> Hybrid:
    """Build the parts that have a weight.

    Raises
    ------
    DataError
        No item has a title, and titles have a weight.
    """
    weights = {
        "markov": settings.markov_weight,
        "item_knn": settings.item_knn_weight,
        "title_knn": settings.title_weight,
    }
    builders: dict[str, Callable[[], PairModel]] = {
        "markov": lambda: markov.build(MarkovSettings(), context),
        "item_knn": lambda: item_knn.build(ItemKnnSettings(shrinkage=settings.shrinkage), context),
        "title_knn": lambda: title_knn.build(TitleKnnSettings(), context),
    }
    return Hybrid({name: builders[name]() for name, weight in weights.items() if weight}, weights)
