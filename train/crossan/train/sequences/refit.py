"""What a refit trains on: the kept items of every user, held-out ones among them.

A type of its own keeps it apart: what judges a model takes other types, and only
`crossan.train.runs.refitting` makes this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from crossan.common.datasets.protocol import KeptSequences, SelectionSequences
from crossan.common.datasets.splitting import TEST, TRAINING
from crossan.common.split import RefitScope, Split, TrainedOn
from crossan.train.sequences.splits import CatalogueRows, TrainSplit, pad_left

__all__ = ["RefitSequences", "TrainingSequences", "is_trained", "refit_split"]


@dataclass(frozen=True, slots=True)
class RefitSequences:
    """Each user's kept items, all of which are trained on.

    Shapes are as in `KeptSequences`. The catalogue is the whole one. Nothing is
    held out, so that nothing can be judged on it.
    """

    user_ids: npt.NDArray[np.str_]
    item_ids: npt.NDArray[np.str_]
    items: CatalogueRows
    offsets: CatalogueRows
    split: Split
    """The rule by which the run that judges holds out."""

    @classmethod
    def of(cls, kept: KeptSequences, scope: RefitScope) -> RefitSequences:
        """Return the training parts together with the held-out items of a scope."""
        is_in_scope = is_trained(kept, scope)
        trained_before = np.concatenate([[0], np.cumsum(is_in_scope)])
        return cls(
            kept.user_ids,
            kept.item_ids,
            kept.items[is_in_scope],
            trained_before[kept.offsets].astype(np.int64),
            kept.split,
        )

    def training_parts(self) -> list[CatalogueRows]:
        """Return the items of every user, catalogue rows, oldest first."""
        return [self.items[begin:end] for begin, end in pairwise(self.offsets.tolist())]

    @property
    def training_items(self) -> CatalogueRows:
        """The items of all users one after another."""
        return self.items


TrainingSequences = SelectionSequences | RefitSequences
"""What a model is built for and an objective made of."""


def is_trained(kept: KeptSequences, scope: TrainedOn) -> npt.NDArray[np.bool_]:
    """Return which interactions a run or a refit is trained on, ``(interactions,)``."""
    if scope == "all":
        return np.ones(len(kept.items), dtype=bool)
    if scope == "validation":
        return np.asarray(kept.parts != TEST)
    return np.asarray(kept.parts == TRAINING)


def refit_split(seen: RefitSequences, input_length: int) -> TrainSplit:
    """Return the items of every user, in one row or several.

    A user has more of them than the training part that the model was made for. What
    does not fit into a row of ``input_length + 1`` goes into others before it, each of
    which ends with the first item of the next: every item but a user's first is
    predicted once.
    """
    length = input_length + 1
    parts = seen.training_parts()
    return TrainSplit(pad_left([row for part in parts for row in _rows(part, length)], length))


def _rows(part: CatalogueRows, length: int) -> Iterator[CatalogueRows]:
    end = len(part)
    yield part[max(end - length, 0) :]
    while (end := end - length + 1) > 1:
        yield part[max(end - length, 0) : end]
