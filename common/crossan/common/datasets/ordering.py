"""The order of interactions, which no order of rows in a file decides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from crossan.cache_schema.errors import DataError

__all__ = ["ranked_ids", "time_order"]

Int64Array = npt.NDArray[np.int64]


def ranked_ids(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.str_], Int64Array]:
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


def time_order(
    timestamps: pa.ChunkedArray,
    user_ids: npt.NDArray[np.str_],
    users: Int64Array,
    items: Int64Array,
) -> Int64Array:
    """Return the rows of the interactions, user after user and each user's oldest first.

    Ties go by item id; a user without timestamps keeps the order of the file.

    Raises
    ------
    DataError
        A user with and without timestamps.
    """
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
