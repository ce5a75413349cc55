"""The ranks of every user's held-out items, as a finished run recorded them.

They are read from ``eval/per_user.parquet``, which has one row per user. Where a
split holds out one item per user its columns are plain; where it holds out
several, or none of some users, they are lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.common.foreign import read_bounded
from crossan.train.record.reading import RANKS_FILE

__all__ = ["Part", "UserRanks", "read_targets", "read_user_ranks"]

Part = Literal["valid", "test"]
"""Which held-out items are meant."""

_LARGEST = 2**32
"""Bytes."""
_LONGEST_ID = 1024
"""Bytes, as in a dataset."""
_OF_TARGETS = ("rank", "is_cold", "training_count", "popularity_decile")
"""Columns that say something of every target, without the part that their names begin with."""
_OF_USERS = "history_length"


@dataclass(frozen=True, slots=True)
class UserRanks:
    """Where a run ranked the held-out items of every user who has some.

    Shapes: ``user_ids`` ``(users,)`` sorted texts; ``offsets`` ``(users + 1,)``
    where each user's targets begin, one at least; the others ``(targets,)``,
    user after user, and ``history_lengths`` ``(users,)``.
    """

    user_ids: npt.NDArray[np.str_]
    offsets: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    """1-based; 2**53 for a target that its user's history masks."""
    is_cold: npt.NDArray[np.bool_]
    """Whether no user had the target in training."""
    training_counts: npt.NDArray[np.int64]
    """How often the target occurs in training."""
    popularity_deciles: npt.NDArray[np.int64]
    """1 to 10, and 10 holds the most popular items of the catalogue."""
    history_lengths: npt.NDArray[np.int64]
    """Items that the user was ranked by."""

    def hits(self, k: int) -> npt.NDArray[np.float64]:
        """Return the share of each user's targets within the first ``k``, ``(users,)``.

        Its mean is HR@K where every user has one target, and Recall@K where some
        have several.
        """
        return self._sums(self.ranks <= k) / np.diff(self.offsets)

    def ndcg(self, k: int) -> npt.NDArray[np.float64]:
        """Return each user's NDCG, ``(users,)``, ideal where all targets come first."""
        is_hit = self.ranks <= k
        gains = np.where(is_hit, 1.0 / np.log2(self.ranks + 1.0), 0.0)
        # ideal[n - 1] for n targets, of which k have room at most.
        best = 1.0 / np.log2(np.arange(1, k + 1) + 1.0)
        ideal = np.cumsum(best)[np.minimum(np.diff(self.offsets), k) - 1]
        ndcg: npt.NDArray[np.float64] = self._sums(gains) / ideal
        return ndcg

    def _sums(self, values: npt.NDArray[np.float64 | np.bool_]) -> npt.NDArray[np.float64]:
        """Return the sum of each user's values, ``(users,)``."""
        return np.add.reduceat(values.astype(np.float64), self.offsets[:-1])


def read_user_ranks(run: Path, part: Part) -> UserRanks:
    """Return the ranks of a part of a finished run.

    Parameters
    ----------
    run
        The run folder.
    part
        ``valid`` or ``test``.

    Raises
    ------
    UsageError
        The run has recorded no ranks, or is an older one that recorded those of ``test`` alone.
    StoreIntegrityError
        The file is damaged.
    """
    path = run / RANKS_FILE
    names = [f"{part}_{name}" for name in (*_OF_TARGETS, _OF_USERS)]
    try:
        data = read_bounded(path, StoreIntegrityError, _LARGEST)
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            _require_columns(file.schema_arrow.names, names, run)
            table = file.read(["user_id", *names], use_threads=False).combine_chunks()
        table.validate(full=True)
    except (FileNotFoundError, NotADirectoryError):
        # How to make one is not said: a trial's test targets are for whom validation chose.
        raise UsageError(
            f"{run}: expected the ranks of a finished run in {RANKS_FILE}, found none"
        ) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StoreIntegrityError(f"{path}: expected the ranks of every user: {error}") from None
    offsets, values = _targets(table, [f"{part}_{name}" for name in _OF_TARGETS], path)
    ranks, is_cold, training_counts, deciles = values
    # Who has no target is in no mean, so not among the users either.
    has_targets = np.diff(offsets) > 0
    if not (ranks >= 1).all():
        raise StoreIntegrityError(f"{path}: expected ranks of 1 and more, found {ranks.min()}")
    return UserRanks(
        user_ids=_user_ids(table.column("user_id"), path)[has_targets],
        offsets=np.concatenate([[0], offsets[1:][has_targets]]),
        ranks=ranks,
        is_cold=is_cold.astype(bool),
        training_counts=training_counts,
        popularity_deciles=deciles,
        history_lengths=_plain(table.column(f"{part}_{_OF_USERS}"), path)[has_targets],
    )


def read_targets(run: Path, part: Part) -> npt.NDArray[np.str_] | None:
    """Return the item ids of the held-out items, ``(targets,)``, user after user as in `UserRanks`.

    None where the run did not record them, as older ones.

    Raises
    ------
    StoreIntegrityError
        The file is damaged.
    """
    path, name = run / RANKS_FILE, f"{part}_item_id"
    try:
        data = read_bounded(path, StoreIntegrityError, _LARGEST)
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            if name not in file.schema_arrow.names:
                return None
            column = file.read([name], use_threads=False).combine_chunks().column(name)
        column.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StoreIntegrityError(f"{path}: expected the item of every target: {error}") from None
    if pa.types.is_list(column.type):
        column = pc.list_flatten(column)
    return _texts(column, path, "an item id")


def _require_columns(found: Sequence[str], names: Sequence[str], run: Path) -> None:
    missing = [name for name in ("user_id", *names) if name not in found]
    if names[0] == "valid_rank" and missing == names[1:]:
        raise UsageError(
            f"{run}: this run recorded the validation ranks alone, not {missing[0]} and the others",
            remedy=f"crossan-train --config {run}/config.toml --out {run} --resume",
        )
    if missing:
        raise StoreIntegrityError(
            f"{run / RANKS_FILE}: expected the column {missing[0]}, found {', '.join(found)}"
        )


def _targets(
    table: pa.Table, names: Sequence[str], path: Path
) -> tuple[npt.NDArray[np.int64], list[npt.NDArray[np.int64]]]:
    """Return where each user's targets begin, and a flat column for each name."""
    offsets = np.arange(table.num_rows + 1)
    values = []
    for number, name in enumerate(names):
        column = table.column(name)
        begins = offsets if number == 0 else np.arange(table.num_rows + 1)
        if pa.types.is_list(column.type):
            if column.null_count:
                raise StoreIntegrityError(f"{path}: expected no null in {name}")
            lengths = pc.list_value_length(column).to_numpy()
            begins = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            column = pc.list_flatten(column)
        offsets = begins if number == 0 else offsets
        if not np.array_equal(begins, offsets):
            raise StoreIntegrityError(f"{path}: expected {name} for each target")
        values.append(_plain(column, path))
    return offsets, values


def _plain(column: pa.ChunkedArray, path: Path) -> npt.NDArray[np.int64]:
    if column.null_count or column.type not in (pa.int64(), pa.bool_()):
        raise StoreIntegrityError(
            f"{path}: expected whole numbers, found {column.type} and {column.null_count:,} nulls"
        )
    values: npt.NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
    return values


def _user_ids(column: pa.ChunkedArray, path: Path) -> npt.NDArray[np.str_]:
    user_ids = _texts(column, path, "a user id")
    if (user_ids[1:] <= user_ids[:-1]).any():
        raise StoreIntegrityError(f"{path}: expected each user id once, in order")
    return user_ids


def _texts(column: pa.ChunkedArray, path: Path, what: str) -> npt.NDArray[np.str_]:
    if column.type != pa.string() or column.null_count:
        raise StoreIntegrityError(f"{path}: expected {what} in every row")
    # In one array of texts, the longest decides how much room each takes.
    longest = pc.max(pc.binary_length(column)).as_py() or 0
    if longest > _LONGEST_ID:
        raise StoreIntegrityError(
            f"{path}: expected {what} of {_LONGEST_ID:,} bytes at most, found {longest:,}"
        )
    return np.array(column.to_pylist(), dtype=np.str_)
