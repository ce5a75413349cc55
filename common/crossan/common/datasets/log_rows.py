"""Which users and rows of a log a dataset has already."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from crossan.cache_schema.errors import DataError
from crossan.common.datasets.joins import join_of, match_ids, rename_ids
from crossan.common.datasets.report import Examples, Join
from crossan.common.datasets.time_ranges import DATES_BEGIN_MS

__all__ = ["is_new", "join_users"]

Flags = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]


def join_users(log: pa.Table, known: pa.Table) -> tuple[pa.Table, Join | None]:
    """Give a log the user ids of a dataset where it writes them differently.

    A user without a partner is a new one, which is no fault.

    Parameters
    ----------
    log, known
        ``user_id``, ``item_id``, ``timestamp``.

    Returns
    -------
    tuple
        The log; the join, None where either side is empty.
    """
    if not len(log) or not len(known):
        return log, None
    users, known_users = (table.column("user_id").unique().to_pylist() for table in (log, known))
    matching = match_ids(users, known_users)
    renamed = rename_ids(log.column("user_id"), matching)
    join = join_of("users of the log", "users of the dataset", users, known_users, matching)
    # That the dataset has other users, too, is what an update is about.
    join = join.model_copy(update={"unused": Examples()})
    return log.set_column(log.column_names.index("user_id"), "user_id", renamed), join


def is_new(log: pa.Table, known: pa.Table) -> Flags:
    """Return which rows of a log are not among those of a dataset, ``(rows of the log,)``.

    With timestamps a row is known by user, item and time. One that stands in the
    log more often than in the dataset is new as often as it is more. Without
    timestamps the items of a user are a sequence, and what its begin in the log
    shares with its end in the dataset is known. Either way the same log adds
    nothing when it comes a second time.

    Parameters
    ----------
    log, known
        ``user_id``, ``item_id``, ``timestamp``.

    Raises
    ------
    DataError
        One has timestamps and the other has none, or one has dates and the other
        numbers that only order rows.
    """
    if not len(log) or not len(known):
        return np.ones(len(log), dtype=bool)
    times, known_times = log.column("timestamp"), known.column("timestamp")
    if times.null_count != 0 or known_times.null_count != 0:
        if times.null_count != len(times) or known_times.null_count != len(known_times):
            raise DataError(
                f"expected {_what(known_times)}, as the dataset has, found {_what(times)}",
                remedy="Name the column of times: --column timestamp=NAME, or import all anew",
            )
        return _is_new_in_sequence(log, known)
    ends = [pc.min_max(column).as_py() for column in (times, known_times)]
    if (ends[0]["min"] >= DATES_BEGIN_MS) != (ends[1]["min"] >= DATES_BEGIN_MS):
        ranges = [f"{end['min']:,} to {end['max']:,}" for end in ends]
        raise DataError(
            f"expected timestamps like those of the dataset, {ranges[1]} ms, found {ranges[0]} ms",
            remedy="Give the unit of the log: --time-unit s, ms, us or ns",
        )
    return _is_new_in_time(log, known)


def _what(times: pa.ChunkedArray) -> str:
    if times.null_count == len(times):
        return "no timestamps"
    return "timestamps" if times.null_count == 0 else "timestamps in some rows"


def _is_new_in_time(log: pa.Table, known: pa.Table) -> Flags:
    known_count = len(known)
    rows = pa.concat_tables([known, log])
    keys = [*(_codes(rows.column(name)) for name in ("user_id", "item_id"))]
    keys.append(rows.column("timestamp").to_numpy())
    # lexsort is stable: rows of one key follow one another, those of the dataset first.
    order = np.lexsort(keys)
    starts = np.ones(len(rows), dtype=bool)
    for key in keys:
        starts[1:] &= key[order][1:] == key[order][:-1]
    starts[1:] = ~starts[1:]
    group = np.cumsum(starts) - 1
    is_log = order >= known_count
    known_in_group = np.bincount(group, weights=~is_log).astype(np.int64)
    position = np.arange(len(rows)) - np.flatnonzero(starts)[group]
    # The n-th row of the log with a key is new where the dataset has fewer than n.
    new_in_order = is_log & (position - known_in_group[group] >= known_in_group[group])
    flags = np.zeros(len(rows), dtype=bool)
    flags[order] = new_in_order
    return flags[known_count:]


def _is_new_in_sequence(log: pa.Table, known: pa.Table) -> Flags:
    rows = pa.concat_tables([known, log])
    users, items = (_codes(rows.column(name)) for name in ("user_id", "item_id"))
    flags = np.ones(len(log), dtype=bool)
    begins = _by_user(users[: len(known)])
    for user, added in _by_user(users[len(known) :]).items():
        before = items[begins.get(user, np.empty(0, np.int64))]
        after = items[added + len(known)]
        flags[added[: _overlap(before, after)]] = False
    return flags


def _overlap(before: Int64Array, after: Int64Array) -> int:
    """Return the length of the longest end of ``before`` that ``after`` begins with."""
    for length in range(min(len(before), len(after)), 0, -1):
        if np.array_equal(before[-length:], after[:length]):
            return length
    return 0


def _codes(column: pa.ChunkedArray) -> Int64Array:
    codes: Int64Array = (
        pc.dictionary_encode(column).combine_chunks().indices.to_numpy().astype(np.int64)
    )
    return codes


def _by_user(users: Int64Array) -> dict[int, Int64Array]:
    """Return each user's rows, in their order."""
    order = np.argsort(users, kind="stable")
    ids, starts = np.unique(users[order], return_index=True)
    return dict(zip(ids.tolist(), np.split(order, starts[1:]), strict=True))
