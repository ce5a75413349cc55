"""Which interactions are kept, in which order, and which of them are held out.

Users with fewer than ``min_items`` interactions are dropped. Of the paper's
``leave-last-out`` each user's last ``max_items`` are kept: the last is the test
target, the last but one the validation target, the rest the training part. Of
``mmrec-random`` all are kept, and the targets are drawn (see
`crossan.common.datasets.splitting`). Of ``fixed`` the dataset itself says the part
of every interaction: all are kept of users that have one in training, however few,
and every item is in the catalogue.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from crossan.cache_schema.errors import DataError, UsageError
from crossan.common.datasets.ordering import ranked_ids, time_order
from crossan.common.datasets.own_split import own_parts
from crossan.common.datasets.protocol import Int64Array, KeptSequences
from crossan.common.datasets.splitting import HELD_OUT, TRAINING, part_interactions
from crossan.common.split import LEAVE_LAST_OUT, Split

__all__ = ["keep_rows", "keep_sequences"]


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
        ``user_id``, ``item_id``, ``timestamp``, and ``part`` where the split is ``fixed``.
    max_items
        Items kept per user, the last ones, of ``leave-last-out``. Of the others all are.
    min_items
        Users with fewer interactions are left out, but for ``fixed``.
    drop_items
        Item ids whose interactions are removed first.
    split
        The rule that says which of the kept interactions are held out.

    Raises
    ------
    UsageError
        ``min_items`` below 3 (a training item and two targets) or above ``max_items``, or a
        dataset without the split that is asked of it.
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
    given = own_parts(interactions)[order] if split.name == "fixed" else None
    if given is None:
        is_kept = _kept_by_length(users, len(user_ids), min_items)
    else:
        is_kept = np.isin(users, users[given == TRAINING])
    if split.is_by_time:
        is_kept &= _from_end(users, len(user_ids)) <= max_items
    if not is_kept.any():
        raise DataError(
            f"no user has at least {min_items} interactions: "
            f"{len(user_ids):,} users, {len(users):,} interactions",
            remedy="Lower --min-items (3 at least), or run: crossan data check DATASET",
        )
    kept_users, kept_lengths = np.unique(users[is_kept], return_counts=True)
    if given is None:
        catalogue, rows = np.unique(items[is_kept], return_inverse=True)
        owners = np.repeat(np.arange(len(kept_users)), kept_lengths)
        parts = part_interactions(split, user_ids[kept_users], item_ids[catalogue], owners, rows)
    else:
        # Items of users that are left out stay candidates, as the publisher counted them.
        catalogue, rows, parts = np.arange(len(item_ids)), items[is_kept], given[is_kept]
    sequences = KeptSequences(
        user_ids=user_ids[kept_users],
        item_ids=item_ids[catalogue],
        items=rows.astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(kept_lengths)]).astype(np.int64),
        parts=parts,
        split=split,
    )
    return sequences, order[is_kept]


def _kept_by_length(users: Int64Array, user_count: int, min_items: int) -> npt.NDArray[np.bool_]:
    return np.asarray(np.bincount(users, minlength=user_count)[users] >= min_items)


def _from_end(users: Int64Array, user_count: int) -> Int64Array:
    """Return 1 for the last interaction of a user, 2 for the one before it, and so on."""
    ends = np.cumsum(np.bincount(users, minlength=user_count))
    # Interactions lie user after user and oldest first.
    from_end: Int64Array = ends[users] - np.arange(len(users))
    return from_end
