"""The kept items of every user, and which of them are held out.

Which interactions are kept says `crossan.common.datasets.keeping`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.canonical import canonical_bytes, sha256_hex
from crossan.common.datasets.splitting import (
    HELD_OUT,
    TEST,
    TRAINING,
    VALIDATION,
    Parts,
)
from crossan.common.split import LEAVE_LAST_OUT, Split

__all__ = [
    "HELD_OUT",
    "KeptSequences",
    "SelectionSequences",
    "cold_test_targets",
    "sequences_digest",
    "unwinnable_test_targets",
]

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SelectionSequences:
    """Each user's kept items without the test targets.

    This is all that training and selecting may see. Shapes are as in
    `KeptSequences`. The catalogue is the whole one, for which items there are to
    rank is no secret. Whose test target an item is cannot be seen here.
    """

    user_ids: npt.NDArray[np.str_]
    item_ids: npt.NDArray[np.str_]
    items: Int64Array
    offsets: Int64Array
    parts: Parts
    split: Split = LEAVE_LAST_OUT

    def sequence(self, user: int) -> Int64Array:
        """Return one user's items up to the validation target, catalogue rows, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def training_parts(self) -> list[Int64Array]:
        """Return the training part of every user, catalogue rows, oldest first."""
        return _of_users(self, self.parts == TRAINING)

    @property
    def validation_targets(self) -> Int64Array:
        """Catalogue rows of the validation targets, user after user, ``(targets,)``."""
        return self.items[_targets(self, VALIDATION)]

    @property
    def validation_users(self) -> Int64Array:
        """The user of each validation target, ``(targets,)``; without repeats of an item."""
        return _owners(self.offsets)[_targets(self, VALIDATION)]

    @property
    def training_items(self) -> Int64Array:
        """The training parts of all users one after another."""
        rows: Int64Array = self.items[self.parts == TRAINING]
        return rows


@dataclass(frozen=True, slots=True)
class KeptSequences:
    """Each user's kept items in time order, as rows of the catalogue.

    Shapes: ``user_ids`` ``(users,)`` and ``item_ids`` ``(items,)``, both sorted
    texts; ``items`` ``(interactions,)`` catalogue rows, user after user;
    ``offsets`` ``(users + 1,)`` where each user's begin; ``parts``
    ``(interactions,)``.
    """

    user_ids: npt.NDArray[np.str_]
    item_ids: npt.NDArray[np.str_]
    """The catalogue: every item of a kept sequence, of ``fixed`` every item of the dataset's."""
    items: Int64Array
    offsets: Int64Array
    parts: Parts
    """Which part each item is in."""
    split: Split = LEAVE_LAST_OUT

    def sequence(self, user: int) -> Int64Array:
        """Return one user's kept items, catalogue rows, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def test_histories(self) -> list[Int64Array]:
        """Return what each user's test targets are ranked after, oldest first.

        Of ``leave-last-out`` these are all kept items before the target, of the
        other splits the training part alone, as MMRec does.
        """
        return _of_users(self, self.is_before_test())

    def is_before_test(self) -> npt.NDArray[np.bool_]:
        """Return which items are in a test history, ``(interactions,)``."""
        is_before: npt.NDArray[np.bool_]
        is_before = self.parts != TEST if self.split.is_by_time else self.parts == TRAINING
        return is_before

    @property
    def test_targets(self) -> Int64Array:
        """Catalogue rows of the test targets, user after user, ``(targets,)``."""
        return self.items[_targets(self, TEST)]

    @property
    def test_users(self) -> Int64Array:
        """The user of each test target, ``(targets,)``; without repeats of an item."""
        return _owners(self.offsets)[_targets(self, TEST)]

    @property
    def training_items(self) -> Int64Array:
        """The training parts of all users one after another."""
        rows: Int64Array = self.items[self.parts == TRAINING]
        return rows

    def without_test(self) -> SelectionSequences:
        """Return a copy without the test targets."""
        is_seen = self.parts != TEST
        seen_before = np.concatenate([[0], np.cumsum(is_seen)])
        return SelectionSequences(
            self.user_ids,
            self.item_ids,
            self.items[is_seen],
            seen_before[self.offsets].astype(np.int64),
            self.parts[is_seen],
            self.split,
        )


def sequences_digest(sequences: KeptSequences | SelectionSequences) -> str:
    """Return the SHA-256 of users, catalogue and sequences, and of parts that need not follow.

    Two figures are about the same data only where these are equal.
    """
    names = canonical_bytes([sequences.user_ids.tolist(), sequences.item_ids.tolist()])
    data = names + sequences.offsets.tobytes() + sequences.items.tobytes()
    # The parts of leave-last-out follow from the offsets, and runs have recorded its digest so.
    return sha256_hex(data if sequences.split.is_by_time else data + sequences.parts.tobytes())


def cold_test_targets(kept: KeptSequences) -> int:
    """Count test targets that are in no user's training part."""
    is_trained = np.zeros(len(kept.item_ids), dtype=bool)
    is_trained[kept.training_items] = True
    return int((~is_trained[kept.test_targets]).sum())


def unwinnable_test_targets(kept: KeptSequences) -> int:
    """Count test targets that are already in the history that they are ranked after.

    History masking rules them out, so no model can rank them.
    """
    is_before = kept.is_before_test()
    seen = _pairs(kept, _owners(kept.offsets)[is_before], kept.items[is_before])
    return int(np.isin(_pairs(kept, kept.test_users, kept.test_targets), seen).sum())


def _owners(offsets: Int64Array) -> Int64Array:
    """Return the user of each interaction, ``(interactions,)``."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _pairs(
    kept: KeptSequences | SelectionSequences, users: Int64Array, items: Int64Array
) -> Int64Array:
    """Return a number for each user and item, ``(n,)``."""
    return users * len(kept.item_ids) + items


def _targets(kept: KeptSequences | SelectionSequences, part: np.int8) -> Int64Array:
    """Return the rows of the interactions that are targets of a part.

    An item that a user had twice in one part is one target: a list shows it once.
    """
    rows = np.flatnonzero(kept.parts == part)
    _, first = np.unique(
        _pairs(kept, _owners(kept.offsets)[rows], kept.items[rows]), return_index=True
    )
    return rows[np.sort(first)]


def _of_users(
    kept: KeptSequences | SelectionSequences, is_chosen: npt.NDArray[np.bool_]
) -> list[Int64Array]:
    """Return the chosen items of each user."""
    chosen_before = np.concatenate([[0], np.cumsum(is_chosen)])
    items, bounds = kept.items[is_chosen], chosen_before[kept.offsets].tolist()
    # As `np.split` does, which takes twenty times as long for as many short parts.
    return [items[begin:end] for begin, end in pairwise(bounds)]
