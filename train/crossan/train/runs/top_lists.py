"""The best items of many users, as one table in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from crossan.cache_schema.errors import UsageError
from crossan.common.console import note, progress
from crossan.common.files import writing_whole
from crossan.common.foreign import read_bounded
from crossan.common.refusals import blaming, make_folder
from crossan.train.evaluation.best import best_items
from crossan.train.evaluation.encoding import ranker_maker
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.recommend import Readers, row_of_user
from crossan.train.runs.shortage import evaluation_shortage_explained

__all__ = ["TOP_SCHEMA", "read_users", "top_lists", "write_top_lists"]

TOP_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
    ]
)
"""Columns of `top_lists`; ranks count from 1."""

_USERS_PER_BLOCK = 4096
"""Users of which anything is held at a time."""
_LARGEST_FILE = 1 << 30
"""Bytes of a file of user ids at most."""


def top_lists(
    run: OpenedRun, users: Sequence[int] | np.ndarray, top: int, new: int = 0
) -> Iterator[pa.Table]:
    """Yield the best items of each user that the user's history does not hold, block by block.

    The memory that this takes does not grow with the number of users.

    Parameters
    ----------
    run
        The run. Each user's whole kept sequence is read, the test item included.
    users
        Places of users in ``run.kept.user_ids``, in the order of the table.
    top
        Items for each user.
    new
        Items that nobody had in training, of which each list has so many at least.

    Yields
    ------
    pyarrow.Table
        By `TOP_SCHEMA`, the best item of a user first. A user has fewer rows than ``top`` where
        fewer items are left.
    """
    make = ranker_maker(run.model, run.features)
    new_items = run.new_items(new)
    chosen = np.asarray(users, dtype=np.int64)
    with progress("recommend", len(chosen), "users") as shown:
        for start in range(0, len(chosen), _USERS_PER_BLOCK):
            block = chosen[start : start + _USERS_PER_BLOCK]
            histories = [run.kept.sequence(user) for user in block.tolist()]
            ranker = make(Readers.of(run, histories, block))
            best = best_items(ranker, histories, top, new_items)
            yield _table(run, block, *best)
            shown.advance(len(block))


def write_top_lists(
    run: OpenedRun,
    users: Sequence[int] | np.ndarray,
    top: int,
    out: Path,
    *,
    may_replace: bool,
    new: int = 0,
) -> int:
    """Write `top_lists` to a Parquet file, whole or not at all, and return its number of rows.

    Raises
    ------
    UsageError
        Something is at ``out`` and may not be replaced.
    ResourceError
        The system refuses to write it.
    """
    make_folder(out.parent)
    row_count = 0
    with writing_whole(out, may_replace=may_replace) as path:
        with blaming(out):
            file = pq.ParquetWriter(path, TOP_SCHEMA)
        try:
            with evaluation_shortage_explained(run, "a recommendation"):
                for table in top_lists(run, users, top, new):
                    with blaming(out):
                        file.write_table(table)
                    row_count += table.num_rows
        finally:
            with blaming(out):
                file.close()
    return row_count


def read_users(run: OpenedRun, path: Path) -> list[int]:
    """Return the places of the users that a file names, one on each line, in its order.

    A user whom several lines name stands where the first of them does: the lists of all users are
    joined by user, and a list that was there twice would count twice.

    Raises
    ------
    UsageError
        No such file, none that is text, or a line that names no user of the run.
    """
    try:
        text = read_bounded(path, UsageError, _LARGEST_FILE).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError(f"--users {path}: expected a file of user ids, found none") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--users {path}: expected text in UTF-8: {error}") from error
    # Not splitlines, which parts a line where an id has a separator of Unicode.
    lines = enumerate(text.split("\n"), 1)
    named = [(number, line.strip(" \t\r")) for number, line in lines if line.strip(" \t\r")]
    if not named:
        raise UsageError(f"--users {path}: expected user ids, one on each line, found none")
    rows = [row_of_user(run, user, f"--users {path}, line {number}:") for number, user in named]
    distinct = list(dict.fromkeys(rows))
    if len(distinct) < len(rows):
        note(f"--users {path}: {len(rows) - len(distinct):,} lines name a user again, left out")
    return distinct


def _table(run: OpenedRun, users: np.ndarray, rows: Tensor, scores: Tensor) -> pa.Table:
    is_shown = rows.numpy() >= 0
    of_user, position = is_shown.nonzero()
    return pa.table(
        [
            _texts(run.kept.user_ids, users[of_user]),
            pa.array((position + 1).astype(np.int32)),
            _texts(run.kept.item_ids, rows.numpy()[is_shown]),
            pa.array(scores.numpy()[is_shown]),
        ],
        schema=TOP_SCHEMA,
    )


def _texts(texts: np.ndarray, rows: np.ndarray) -> pa.Array:
    """Return the texts of some rows, each distinct one converted once."""
    distinct, places = np.unique(rows, return_inverse=True)
    return pa.array(texts[distinct].tolist(), pa.string()).take(pa.array(places))
