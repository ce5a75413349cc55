"""Triples of a user, an item of theirs and another item, for models with a vector per user.

An epoch holds every pair of a user and a training item once, in an order of its own.
The third item of each is drawn alike from the items that occur in training, and
anew while the user has it. Order and draws follow from the seed and the epoch, and
the step has its place among them: a resumed run needs to remember nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from crossan.train.features import ItemInputs
from crossan.train.models.recommender import TableModel
from crossan.train.objectives.step import Prepared
from crossan.train.sequences.flat import FlatSequences

__all__ = ["Triples"]

_DRAWS = 20
"""Times that a third item is drawn anew before it is chosen from what the user lacks."""


class Triples:
    """Learn from every training pair and an item that its user does not have.

    Parameters
    ----------
    parts
        The training parts of all users.
    item_count
        Items of the catalogue.
    batch_size
        Triples per step.
    seed
        Seed of order and draws.
    device
        Where the model computes.
    """

    def __init__(
        self,
        parts: FlatSequences,
        item_count: int,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._item_count, self._batch_size, self._seed = item_count, batch_size, seed
        self._device = device
        self._trained = np.unique(parts.items)
        # A number for each pair of user and item, sorted, so that a search tells who has what. Who
        # had an item twice has one pair.
        self._had = np.unique(parts.users * item_count + parts.items)
        # Of a user who has everything there is no triple.
        items_had = np.bincount(self._had // item_count, minlength=parts.user_count)
        lacks_some = items_had[self._had // item_count] < len(self._trained)
        self._pairs = self._had[lacks_some]

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """Return the triples of every step of an epoch, ``(triples, 3)`` each."""
        random = np.random.default_rng([self._seed, epoch])
        pairs = random.permutation(self._pairs)
        users, items = pairs // self._item_count, pairs % self._item_count
        others = self._others(users, random)
        triples = torch.from_numpy(np.stack([users, items, others], axis=1))
        batches: Sequence[Tensor] = triples.split(self._batch_size)
        return batches

    def items_of(self, batch: Tensor) -> Tensor:
        """Return the catalogue rows in a batch, each once."""
        rows: Tensor = batch[:, 1:].unique()
        return rows

    def prepare(self, features: ItemInputs, batch: Tensor) -> Prepared:
        """Prepare the loss of a batch."""
        del features  # a model has read what it needs of them

        def loss(model: TableModel) -> Tensor:
            users, items, others = batch.to(self._device).unbind(dim=1)
            return model.loss(users, items, others)

        return loss

    def state(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Do nothing, as there is nothing to remember."""

    def _others(self, users: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draw an item for each user that the user does not have, ``(users,)``."""
        others = random.choice(self._trained, len(users))
        left = np.flatnonzero(self._has(users, others))
        for _ in range(_DRAWS):
            if not len(left):
                return others
            others[left] = random.choice(self._trained, len(left))
            left = left[self._has(users[left], others[left])]
        # They have nearly everything: to draw until one is lacking could take for ever.
        for index in left.tolist():
            user = np.full(len(self._trained), users[index])
            lacking = self._trained[~self._has(user, self._trained)]
            others[index] = random.choice(lacking)
        return others

    def _has(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return whether each user has the item beside, bool."""
        pairs = users * self._item_count + items
        places = np.searchsorted(self._had, pairs).clip(max=len(self._had) - 1)
        is_had: np.ndarray = self._had[places] == pairs
        return is_had
