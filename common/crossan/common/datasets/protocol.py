"""The paper's leave-one-out protocol.

It says which interactions are kept, and in which order. Users with fewer than
``min_items`` interactions are dropped, then each user's last ``max_items`` are
kept. The last is the test target, the last but one the validation target, the
rest the training part.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from crossan.cache_schema.canonical import canonical_bytes, sha256_hex
from crossan.cache_schema.errors import DataError, UsageError

__all__ = [
    "HELD_OUT",
    "KeptSequences",
    "SelectionSequences",
    "cold_test_targets",
    "keep_sequences",
    "sequences_digest",
    "unwinnable_test_targets",
]

HELD_OUT = 2
"""Items at the end of every kept sequence that no training part holds."""

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SelectionSequences:
    """Each user's kept items without the test target.

    This is all that training and selecting may see. Shapes are as in
    `KeptSequences`, but every user's last item is the validation target. The
    catalogue is the whole one, for which items there are to rank is no secret. Whose
    test target an item is cannot be seen here.
    """

    user_ids: npt.NDArray[np.str_]
    item_ids: npt.NDArray[np.str_]
    items: Int64Array
    offsets: Int64Array

    def sequence(self, user: int) -> Int64Array:
        """Return one user's items up to the validation target, catalogue rows, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    @property
    def validation_targets(self) -> Int64Array:
        """The last of these items of every user, ``(users,)``."""
        return self.items[self.offsets[1:] - 1]

    @property
    def training_items(self) -> Int64Array:
        """The training parts of all users one after another."""
        return np.delete(self.items, self.offsets[1:] - 1)


@dataclass(frozen=True, slots=True)
class KeptSequences:
    """Each user's kept items in time order, as rows of the catalogue.

    Shapes: ``user_ids`` ``(users,)`` and ``item_ids`` ``(items,)``, both sorted
    texts; ``items`` ``(interactions,)`` catalogue rows, user after user;
    ``offsets`` ``(users + 1,)`` where each user's begin.
    """

    user_ids: npt.NDArray[np.str_]
    item_ids: npt.NDArray[np.str_]
    """The catalogue: every item of a kept sequence."""
    items: Int64Array
    offsets: Int64Array

    def sequence(self, user: int) -> Int64Array:
        """Return one user's kept items, catalogue rows, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    @property
    def test_targets(self) -> Int64Array:
        """The last item of every user, ``(users,)``."""
        return self.items[self.offsets[1:] - 1]

    @property
    def training_items(self) -> Int64Array:
        """The training parts of all users one after another."""
        return self.without_test().training_items

    def without_test(self) -> SelectionSequences:
        """Return a copy without the test targets."""
        return SelectionSequences(
            self.user_ids,
            self.item_ids,
            np.delete(self.items, self.offsets[1:] - 1),
            # Each of the users before has one item fewer, so a user's begin moves by their number.
            self.offsets - np.arange(len(self.offsets)),
        )


def sequences_digest(sequences: KeptSequences | SelectionSequences) -> str:
    """Return the SHA-256 of users, catalogue and sequences.

    Two figures are about the same data only where these are equal.
    """
    names = canonical_bytes([sequences.user_ids.tolist(), sequences.item_ids.tolist()])
    return sha256_hex(names + sequences.offsets.tobytes() + sequences.items.tobytes())


def keep_sequences(
    interactions: pa.Table,
    *,
    max_items: int = 13,
    min_items: int = 5,
    drop_items: Collection[str] = (),
) -> KeptSequences:
    """Apply the protocol.

    Interactions are ordered by timestamp, ties by item id, so that no result
    depends on the order of rows; a user without timestamps keeps file order.

    Parameters
    ----------
    interactions
        ``user_id``, ``item_id``, ``timestamp``.
    max_items
        Items kept per user, the last ones.
    min_items
        Users with fewer interactions are left out.
    drop_items
        Item ids whose interactions are removed first.

    Raises
    ------
    UsageError
        ``min_items`` below 3 (a training item and two targets) or above ``max_items``.
    DataError
        A user with and without timestamps, or no user left.
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
    user_ids, users = _ranked(interactions.column("user_id"))
    item_ids, items = _ranked(interactions.column("item_id"))
    order = _time_order(interactions.column("timestamp"), user_ids, users, items)
    users, items = users[order], items[order]
    lengths = np.bincount(users, minlength=len(user_ids))
    # Interactions lie user after user and oldest first: 1 for the last one of a user.
    from_end = np.cumsum(lengths)[users] - np.arange(len(users))
    is_kept = (lengths[users] >= min_items) & (from_end <= max_items)
    if not is_kept.any():
        raise DataError(
            f"no user has at least {min_items} interactions: "
            f"{len(user_ids):,} users, {len(users):,} interactions",
            remedy="Lower --min-items (3 at least), or run: crossan data check DATASET",
        )
    kept_users, kept_lengths = np.unique(users[is_kept], return_counts=True)
    catalogue, rows = np.unique(items[is_kept], return_inverse=True)
    return KeptSequences(
        user_ids=user_ids[kept_users],
        item_ids=item_ids[catalogue],
        items=rows.astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(kept_lengths)]).astype(np.int64),
    )


def cold_test_targets(kept: KeptSequences) -> int:
    """Count test targets that are in no user's training part."""
    is_trained = np.zeros(len(kept.item_ids), dtype=bool)
    is_trained[kept.training_items] = True
    return int((~is_trained[kept.test_targets]).sum())


def unwinnable_test_targets(kept: KeptSequences) -> int:
    """Count test targets that are already in their user's history.

    History masking rules them out, so no model can rank them.
    """
    owners = np.repeat(np.arange(len(kept.user_ids)), np.diff(kept.offsets))
    is_before = np.ones(len(kept.items), dtype=bool)
    is_before[kept.offsets[1:] - 1] = False
    repeats = is_before & (kept.items == kept.test_targets[owners])
    return len(np.unique(owners[repeats]))


def _ranked(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.str_], Int64Array]:
    """Return the distinct values, sorted, and each row's position among them.

    Arrow numbers the values as it meets them. Sorting them makes the positions
    independent of the order of the file.
    """
    encoded = pc.dictionary_encode(column).combine_chunks()
    values = np.array(encoded.dictionary.to_pylist(), dtype=np.str_)
    order = np.argsort(values)
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values))
    return values[order], rank[encoded.indices.to_numpy().astype(np.int64)]


def _time_order(
    timestamps: pa.ChunkedArray,
    user_ids: npt.NDArray[np.str_],
    users: Int64Array,
    items: Int64Array,
) -> Int64Array:
    has_time = pc.is_valid(timestamps).to_numpy()
    timed = np.bincount(users, weights=has_time, minlength=len(user_ids))
    mixed = np.flatnonzero((timed > 0) & (timed < np.bincount(users, minlength=len(user_ids))))
    if len(mixed):
        raise DataError(
            f"user {user_ids[mixed[0]]} has interactions with and without a timestamp"
            f" ({len(mixed):,} such users): their order is not known"
        )
    # lexsort sorts by its last key first: user, then time, then item id, then file order. A
    # user without timestamps has equal times and equal ties, which leaves the file order.
    times = pc.fill_null(timestamps, 0).to_numpy()
    ties = np.where(has_time, items, 0)
    return np.lexsort((np.arange(len(users)), ties, times, users)).astype(np.int64)
