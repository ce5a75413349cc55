"""Which interactions are kept, in which order, and which of them are held out.

Users with fewer than ``min_items`` interactions are dropped. Of the paper's
``leave-last-out`` each user's last ``max_items`` are kept: the last is the test
target, the last but one the validation target, the rest the training part. Of
``mmrec-random`` all are kept, and the targets are drawn (see
`crossan.common.datasets.splitting`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from crossan.cache_schema.canonical import canonical_bytes, sha256_hex
from crossan.cache_schema.errors import DataError, UsageError
from crossan.common.datasets.ordering import ranked_ids, time_order
from crossan.common.datasets.splitting import (
    HELD_OUT,
    TEST,
    TRAINING,
    VALIDATION,
    Parts,
    part_interactions,
)
from crossan.common.split import LEAVE_LAST_OUT, Split

__all__ = [
    "HELD_OUT",
    "KeptSequences",
    "SelectionSequences",
    "cold_test_targets",
    "keep_rows",
    "keep_sequences",
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
    """The catalogue: every item of a kept sequence."""
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

        Of ``leave-last-out`` these are all kept items before the target, of
        ``mmrec-random`` the training part alone, as MMRec does.
        """
        return _of_users(self, self.is_before_test())

    def is_before_test(self) -> npt.NDArray[np.bool_]:
        """Return which items are in a test history, ``(interactions,)``."""
        is_before: npt.NDArray[np.bool_]
        is_before = self.parts == TRAINING if self.split.is_random else self.parts != TEST
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
    """Return the SHA-256 of users, catalogue and sequences, and of the parts where drawn.

    Two figures are about the same data only where these are equal.
    """
    names = canonical_bytes([sequences.user_ids.tolist(), sequences.item_ids.tolist()])
    data = names + sequences.offsets.tobytes() + sequences.items.tobytes()
    # The parts of leave-last-out follow from the offsets, and runs have recorded its digest so.
    return sha256_hex(data + sequences.parts.tobytes() if sequences.split.is_random else data)


def keep_sequences(
    interactions: pa.Table,
    *,
    max_items: int = 13,
    min_items: int = 5,
    drop_items: Collection[str] = (),
    split: Split = LEAVE_LAST_OUT,
) -> KeptSequences:
    """Apply the protocol.

    Interactions are ordered by timestamp, ties by item id, so that no result
    depends on the order of rows; a user without timestamps keeps file order.

    Parameters
    ----------
    interactions
        ``user_id``, ``item_id``, ``timestamp``.
    max_items
        Items kept per user, the last ones. Of ``mmrec-random`` all are.
    min_items
        Users with fewer interactions are left out.
    drop_items
        Item ids whose interactions are removed first.
    split
        The rule that says which of the kept interactions are held out.

    Raises
    ------
    UsageError
        ``min_items`` below 3 (a training item and two targets) or above ``max_items``.
    DataError
        A user with and without timestamps, or no user left.
    """
    kept, _ = keep_rows(
        interactions,
        max_items=max_items,
        min_items=min_items,
        drop_items=drop_items,
        split=split,
    )
    return kept


def keep_rows(
    interactions: pa.Table,
    *,
    max_items: int,
    min_items: int,
    drop_items: Collection[str] = (),
    split: Split = LEAVE_LAST_OUT,
) -> tuple[KeptSequences, Int64Array]:
    """Apply the protocol, and say which row of the table each kept interaction is.

    Rows are counted after ``drop_items`` are removed. All else is as for
    `keep_sequences`.
    """
    if not HELD_OUT < min_items <= max_items:
        raise UsageError(
            f"expected 3 <= --min-items <= --max-items, got {min_items} and {max_items}"
        )
    if drop_items:
        dropped = pa.array(sorted(drop_items), pa.string())
        interactions = interactions.filter(
            pc.invert(pc.is_in(interactions.column("item_id"), dropped))
        )
    user_ids, users = ranked_ids(interactions.column("user_id"))
    item_ids, items = ranked_ids(interactions.column("item_id"))
    order = time_order(interactions.column("timestamp"), user_ids, users, items)
    users, items = users[order], items[order]
    lengths = np.bincount(users, minlength=len(user_ids))
    # Interactions lie user after user and oldest first: 1 for the last one of a user.
    from_end = np.cumsum(lengths)[users] - np.arange(len(users))
    is_kept = lengths[users] >= min_items
    if not split.is_random:
        is_kept &= from_end <= max_items
    if not is_kept.any():
        raise DataError(
            f"no user has at least {min_items} interactions: "
            f"{len(user_ids):,} users, {len(users):,} interactions",
            remedy="Lower --min-items (3 at least), or run: crossan data check DATASET",
        )
    kept_users, kept_lengths = np.unique(users[is_kept], return_counts=True)
    catalogue, rows = np.unique(items[is_kept], return_inverse=True)
    owners = np.repeat(np.arange(len(kept_users)), kept_lengths)
    parts = part_interactions(split, user_ids[kept_users], item_ids[catalogue], owners, rows)
    sequences = KeptSequences(
        user_ids=user_ids[kept_users],
        item_ids=item_ids[catalogue],
        items=rows.astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(kept_lengths)]).astype(np.int64),
        parts=parts,
        split=split,
    )
    return sequences, order[is_kept]


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
