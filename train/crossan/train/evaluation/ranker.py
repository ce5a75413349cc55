"""What ranking sees of a model.

Evaluation, recommendation and export see no more of a model than `Ranker`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from crossan.train.models.recommender import CountingModel

__all__ = ["CountRanker", "Ranker", "VectorRanker"]

_ROUNDING = 4
"""Units of rounding within which scores tie, of the product of the two vectors' lengths.

A matmul sums the columns at its edge in another order than the others, on some
processors, so equal vectors can differ by two or three of these."""


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
        rounding: Tensor = _ROUNDING * torch.finfo(vectors.dtype).eps * user_length * item_length
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
        self._model, self._histories = model, histories
        self._base = model.base_scores().detach()

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
        scores = self._base[first:end].repeat(len(users), 1)
        for row, user in enumerate(users.tolist()):
            rows, gains = self._model.scores_after(self._histories[user])
            if not len(rows):
                continue
            is_inside = (rows >= first) & (rows < end)
            chosen = torch.from_numpy(rows[is_inside] - first).to(scores.device)
            scores[row, chosen] += torch.from_numpy(gains[is_inside]).to(scores)
        return scores

    def rounding(self, users: Tensor, targets: Tensor) -> Tensor:
        """Return zeros, as counts are exact and only equal scores tie."""
        del targets
        return self._base.new_zeros(len(users))
