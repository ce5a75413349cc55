"""Ranking by a hybrid of runs, as products of vectors and a few gains of each user."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from crossan.train.evaluation.ranker import (
    SUM_ROUNDING,
    HasHistory,
    SparseGains,
    VectorRanker,
    gains_at,
)
from crossan.train.evaluation.user_vectors import encode_users
from crossan.train.models.hybrid_of_runs import HybridOfRuns, log_gains
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.splits import pad_left

__all__ = ["HybridRanker", "base_vectors", "content_vectors", "hybrid_ranker_maker"]

_USERS_PER_BLOCK = 2048
"""Users whose items' content is held at a time."""


class HybridRanker:
    """Score by the product of two vectors and what each user's history adds to some items.

    Parameters
    ----------
    vectors
        The product.
    gains
        What is added to it.
    """

    def __init__(self, vectors: VectorRanker, gains: SparseGains) -> None:
        self._vectors, self._gains = vectors, gains

    @property
    def user_count(self) -> int:
        """Users that can be scored."""
        return self._vectors.user_count

    @property
    def item_count(self) -> int:
        """Items of the catalogue."""
        return self._vectors.item_count

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self._vectors.device

    @torch.inference_mode()
    def scores(self, users: Tensor, items: slice) -> Tensor:
        """Return the scores of some users and a range of catalogue rows, ``(users, items)``."""
        scores = self._vectors.scores(users, items)
        self._gains.add_to(scores, users, items)
        return scores

    def rounding(self, users: Tensor, targets: Tensor) -> Tensor:
        """Return that of the product, and a few units of the sum's."""
        gains = gains_at(self._gains.of(users), np.arange(len(users)), targets.numpy(force=True))
        rounding = self._vectors.rounding(users, targets)
        unit = SUM_ROUNDING * torch.finfo(rounding.dtype).eps
        return rounding + unit * torch.from_numpy(gains).to(rounding)


def hybrid_ranker_maker(
    model: HybridOfRuns, item_vectors: Tensor
) -> Callable[[HasHistory], HybridRanker]:
    """Return a function that makes a ranker of any group of users.

    Parameters
    ----------
    model
        The hybrid.
    item_vectors
        Those that it makes of the whole catalogue, ``(items, width)``.
    """
    chain, weights = model.chain(), model.weights

    def gains_of(histories: Sequence[np.ndarray]) -> sparse.csr_array:
        return log_gains(chain(histories), weights.co_occurrence)

    def make(users: HasHistory) -> HybridRanker:
        of_bases = base_vectors(model, item_vectors, users.inputs)
        content = content_vectors(model, item_vectors, users.histories)
        bonus = of_bases.new_full((len(of_bases), 1), weights.cold_bonus)
        vectors = torch.cat([of_bases, weights.content * content, bonus], dim=1)
        return HybridRanker(
            VectorRanker(vectors, item_vectors),
            SparseGains(gains_of, users.histories, len(item_vectors)),
        )

    return make


def base_vectors(model: HybridOfRuns, item_vectors: Tensor, inputs: Tensor) -> Tensor:
    """Return what gives the mean of the runs' scores by the vectors of items.

    The result is ``(users, width of all runs)``; inputs are as for `encode_users`.
    """
    bases = model.base_models()
    of_bases = model.parts_of(item_vectors).of_bases
    of_each = zip(bases, of_bases, model.divisors, strict=True)
    return torch.cat(
        [encode_users(base, items, inputs) / divisor for base, items, divisor in of_each], dim=1
    )


@torch.inference_mode()
def content_vectors(
    model: HybridOfRuns, item_vectors: Tensor, histories: Sequence[np.ndarray]
) -> Tensor:
    """Return the decayed sum of the content of each history, of length 1 or zero.

    The result is ``(users, content width)``.
    """
    content, lengths = model.parts_of(item_vectors).content, model.content_lengths(item_vectors)
    read = pad_left(histories, model.window)
    counted = model.decay ** torch.arange(model.window - 1, -1, -1).to(content)
    whole = content.new_zeros(len(read), content.shape[1])
    for first in range(0, len(read), _USERS_PER_BLOCK):
        block = read[first : first + _USERS_PER_BLOCK].to(content.device)
        items = block.clamp(min=0)
        rows = content[items]  # (users, window, content width)
        sums = torch.einsum("uw,uwc->uc", counted * (block != PADDING) / lengths[items], rows)
        whole[first : first + len(block)] = torch.nn.functional.normalize(sums, dim=1)
    return whole
