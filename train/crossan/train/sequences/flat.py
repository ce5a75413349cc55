"""The items of many users one after another, for arithmetic over all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossan.train.sequences.refit import TrainingSequences
from crossan.train.sequences.splits import CatalogueRows

__all__ = ["FlatSequences", "flat", "training_parts"]


@dataclass(frozen=True, slots=True)
class FlatSequences:
    """Sequences user after user, each oldest first.

    Shapes: ``items`` and ``users`` ``(interactions,)``; ``user_count`` counts those
    without an item too.
    """

    items: CatalogueRows
    users: CatalogueRows
    user_count: int

    @property
    def ages(self) -> CatalogueRows:
        """How many items of the user came later, ``(interactions,)``; 0 for the last one."""
        ends = np.cumsum(np.bincount(self.users, minlength=self.user_count))
        ages: CatalogueRows = ends[self.users] - 1 - np.arange(len(self.users))
        return ages


def flat(sequences: Sequence[CatalogueRows]) -> FlatSequences:
    """Return sequences one after another, the first user's first."""
    lengths = np.array([len(items) for items in sequences], dtype=np.int64)
    return FlatSequences(
        np.concatenate([np.zeros(0, np.int64), *sequences]),
        np.repeat(np.arange(len(sequences)), lengths),
        len(sequences),
    )


def training_parts(seen: TrainingSequences) -> FlatSequences:
    """Return the training part of every user, without any item that is held out."""
    return flat(seen.training_parts())
