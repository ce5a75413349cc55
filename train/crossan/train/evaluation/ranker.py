"""What ranking sees of a model.

Evaluation, recommendation and export see no more of a model than `Ranker`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from crossan.train.models.recommender import CountingModel, CountsManyAtOnce

__all__ = [
    "SUM_ROUNDING",
    "CountRanker",
    "HasHistory",
    "Ranker",
    "RanksSparsely",
    "SparseGains",
    "VectorRanker",
    "gains_at",
]

SUM_ROUNDING = 4
"""Units of rounding within which scores tie, of the product of the two vectors' lengths.

A matmul sums the columns at its edge in another order than the others, on some
processors, so equal vectors can differ by two or three of these."""
_ROUNDING_OF_SUMS = 2.0**-40
"""The same for sums of gains, as a share of the score.

Of counts in float32 it rounds to nothing."""


class HasHistory(Protocol):
    """Users by what they had, a split or a history that somebody typed."""

    @property
    def inputs(self) -> Tensor:
        """Catalogue rows padded on the left, ``(users, input length)``."""

    @property
    def histories(self) -> Sequence[np.ndarray]:
        """Catalogue rows of all kept items of each user, oldest first."""


class Ranker(Protocol):
    """Scores of a fixed list of users, counted from 0, over the catalogue."""

    @property
    def user_count(self) -> int:
        """Users that can be scored."""

    @property
    def item_count(self) -> int:
        """Items of the catalogue."""

    @property
    def device(self) -> torch.device:
        """Where scores are computed."""

    def scores(self, users: Tensor, items: slice) -> Tensor:
        """Return the scores of some users and a range of catalogue rows, ``(users, items)``.

        The result may be changed within `torch.inference_mode`, and is overwritten by the next
        call.
        """

    def rounding(self, users: Tensor, targets: Tensor) -> Tensor:
        """Return how far an item equal to the target may score below it, ``(users,)``.

        Parameters
        ----------
        users
            Some of the users, ``(users,)``.
        targets
            A catalogue row for each of them, ``(users,)``.
        """


@runtime_checkable
class RanksSparsely(Ranker, Protocol):
    """A ranker of whose scores most are the same for everybody."""

    def base_scores(self) -> Tensor:
        """Return the scores that all users share, ``(items,)``."""

    def gains_after(self, users: Tensor) -> sparse.csr_array:
        """Return what some users' scores have beside these, ``(users, items)`` on the CPU.

        A score is the sum of the two, in the dtype of the shared scores. No place is held twice.
        """


class VectorRanker:
    """Score by the dot product of a user vector and an item vector.

    Parameters
    ----------
    user_vectors, item_vectors
        ``(users, width)`` and ``(items, width)``.
    """

    def __init__(self, user_vectors: Tensor, item_vectors: Tensor) -> None:
        self._user_vectors, self._item_vectors = user_vectors.detach(), item_vectors.detach()
        self._users: Tensor | None = None
        self._chosen = self._user_vectors[:0]
        self._buffer = self._user_vectors.new_empty(0)

    @property
    def user_count(self) -> int:
        """Users that can be scored."""
        return len(self._user_vectors)

    @property
    def item_count(self) -> int:
        """Items of the catalogue."""
        return len(self._item_vectors)

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self._user_vectors.device

    @torch.inference_mode()
    def scores(self, users: Tensor, items: slice) -> Tensor:
        """Return the scores of some users and a range of catalogue rows, ``(users, items)``."""
        vectors, item_vectors = self._vectors_of(users), self._item_vectors[items]
        size = len(vectors) * len(item_vectors)
        # One buffer for all blocks stays in the processor's cache; fresh memory would not.
        if self._buffer.numel() < size:
            self._buffer = self._user_vectors.new_empty(size)
        block_scores = self._buffer[:size].view(len(vectors), len(item_vectors))
        return torch.matmul(vectors, item_vectors.T, out=block_scores)

    def rounding(self, users: Tensor, targets: Tensor) -> Tensor:
        """Return a few units of rounding of the product of the two vectors' lengths."""
        vectors = self._vectors_of(users)
        user_length = torch.linalg.vector_norm(vectors, dim=1)
        item_length = torch.linalg.vector_norm(self._item_vectors[targets], dim=1)
        rounding: Tensor = SUM_ROUNDING * torch.finfo(vectors.dtype).eps * user_length * item_length
        return rounding

    def _vectors_of(self, users: Tensor) -> Tensor:
        # The same users come for every range of items: their vectors are gathered once.
        if self._users is not users:
            self._users, self._chosen = users, self._user_vectors[users]
        return self._chosen


class CountRanker:
    """Score by counts that all users share and what each user's history adds to them.

    Parameters
    ----------
    model
        The counts.
    histories
        Catalogue rows of each user's items, oldest first.
    """

    def __init__(self, model: CountingModel, histories: Sequence[np.ndarray]) -> None:
        self._histories = histories
        self._base = model.base_scores().detach()
        gains_of = (
            model.gains()
            if isinstance(model, CountsManyAtOnce)
            else _one_by_one(model, len(self._base))
        )
        self._gains = SparseGains(gains_of, histories, len(self._base))
        self._buffer = self._base.new_empty(0)

    @property
    def user_count(self) -> int:
        """Users that can be scored."""
        return len(self._histories)

    @property
    def item_count(self) -> int:
        """Items of the catalogue."""
        return len(self._base)

    @property
    def device(self) -> torch.device:
        """Where the counts are."""
        return self._base.device

    @torch.inference_mode()
    def scores(self, users: Tensor, items: slice) -> Tensor:
        """Return the scores of some users and a range of catalogue rows, ``(users, items)``."""
        first, end, _ = items.indices(self.item_count)
        size = len(users) * (end - first)
        # As for vectors: one buffer for all blocks.
        if self._buffer.numel() < size:
            self._buffer = self._base.new_empty(size)
        scores = self._buffer[:size].view(len(users), end - first)
        scores.copy_(self._base[first:end].expand_as(scores))
        self._gains.add_to(scores, users, items)
        return scores

    def rounding(self, users: Tensor, targets: Tensor) -> Tensor:
        """Return a little of the target's score.

        Of counts it is less than the least difference of two. Sums of fractions in float64 that
        ought to be equal differ by less.
        """
        items = targets.numpy(force=True)
        gains = torch.from_numpy(gains_at(self.gains_after(users), np.arange(len(users)), items))
        scores = self._base[targets] + gains.to(self._base)
        return _ROUNDING_OF_SUMS * scores.abs()

    def base_scores(self) -> Tensor:
        """Return the scores that all users share, ``(items,)``."""
        return self._base

    def gains_after(self, users: Tensor) -> sparse.csr_array:
        """Return what some users' scores have beside these, ``(users, items)`` float64."""
        return self._gains.of(users)


class SparseGains:
    """What each user's history adds to the scores of a few items.

    Parameters
    ----------
    gains_of
        From histories to what they add, ``(histories, items)``, no place held twice.
    histories
        Catalogue rows of each user's items, oldest first.
    item_count
        Items of the catalogue.
    """

    def __init__(
        self,
        gains_of: Callable[[Sequence[np.ndarray]], sparse.csr_array],
        histories: Sequence[np.ndarray],
        item_count: int,
    ) -> None:
        self._gains_of, self._histories, self._item_count = gains_of, histories, item_count
        self._users: Tensor | None = None
        self._gains = sparse.csr_array((0, item_count))
        self._by_column: sparse.csc_array | None = None

    def of(self, users: Tensor) -> sparse.csr_array:
        """Return what some users gain, ``(users, items)`` float64."""
        # The same users are asked for again and again: what they gain is computed once.
        if self._users is not users:
            gains = self._gains_of([self._histories[user] for user in users.tolist()])
            self._users, self._gains = users, sparse.csr_array(gains, dtype=np.float64)
            self._by_column = None
        return self._gains

    def add_to(self, scores: Tensor, users: Tensor, items: slice) -> None:
        """Add what some users gain of a range of catalogue rows to ``(users, items)`` in place."""
        first, end, _ = items.indices(self._item_count)
        gains = self.of(users)
        # Ranges of columns are read of it, one after another.
        if self._by_column is None:
            self._by_column = sparse.csc_array(gains)
        block = self._by_column[:, first:end].tocoo()
        rows, columns = (torch.from_numpy(part.astype(np.int64)) for part in block.coords)
        # Each place once, so that adding needs no order.
        scores[rows.to(scores.device), columns.to(scores.device)] += torch.from_numpy(
            block.data
        ).to(scores)


def gains_at(gains: sparse.csr_array, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the gains at some places, ``(places,)``, zero where none is held."""
    if not len(rows):
        return np.zeros(0, gains.dtype)  # for which scipy would return a sparse array
    # A copy, as scipy makes places writeable, and those in a tensor's memory refuse that.
    return np.asarray(gains[rows.copy(), items.copy()])


def _one_by_one(
    model: CountingModel, item_count: int
) -> Callable[[Sequence[np.ndarray]], sparse.csr_array]:
    """Return what `CountsManyAtOnce.gains` does, for a model that reads one history at a time."""

    def gains_of(histories: Sequence[np.ndarray]) -> sparse.csr_array:
        gained = [model.scores_after(history) for history in histories]
        users = np.repeat(np.arange(len(gained)), [len(rows) for rows, _ in gained])
        rows = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in gained)])
        gains = np.concatenate([np.zeros(0), *(gains for _, gains in gained)])
        return sparse.csr_array((gains, (users, rows)), shape=(len(gained), item_count))

    return gains_of
