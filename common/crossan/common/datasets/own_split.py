"""The split that a dataset carries, where its publisher says the part of every interaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.item_id import shortened
from crossan.common.datasets.columns import first_row, row_error, texts_of
from crossan.common.datasets.report import Examples
from crossan.common.datasets.splitting import TEST, TRAINING, VALIDATION, Parts
from crossan.common.datasets.typed_tables import PART_COLUMN

__all__ = [
    "PART_NAMES",
    "own_parts",
    "part_counts",
    "part_problems",
    "parts_of_labels",
    "repeated_pairs",
    "split_notes",
    "users_without",
]

PART_NAMES: Mapping[str, np.int8] = {"train": TRAINING, "valid": VALIDATION, "test": TEST}
"""The parts as MMRec and RecBole call them. MMRec's labels are our numbers."""

_SHOWN = 3


def parts_of_labels(column: pa.ChunkedArray, *, source: Path | str, name: str) -> pa.ChunkedArray:
    """Return the part of every row, ``(rows,)`` int8.

    Parameters
    ----------
    column
        Labels 0, 1 and 2 for training, validation and test, as numbers or text.
    source, name
        The file and the column, for messages.

    Raises
    ------
    DataError
        Another label, or none. The message names file, column and row.
    """
    labels = texts_of(column, source=source, name=name)
    plain = pc.replace_substring_regex(labels, r"^([0-9])\.0+$", r"\1")
    parts = pc.index_in(plain, value_set=pa.array(["0", "1", "2"]))
    if parts.null_count:
        row = first_row(pc.is_null(parts))
        label = labels[row].as_py()
        raise row_error(
            source,
            name,
            row,
            "expected a label 0 (train), 1 (valid) or 2 (test), "
            f"found {'none' if label is None else shortened(label)}"
            f" ({parts.null_count:,} such rows)",
        )
    return pc.cast(parts, pa.int8())


def own_parts(interactions: pa.Table) -> Parts:
    """Return the part of every interaction of a dataset with a split of its own.

    Raises
    ------
    UsageError
        The dataset has none.
    DataError
        Nothing is in one of the parts.
    """
    if PART_COLUMN not in interactions.column_names:
        raise UsageError(
            "data.split=fixed: expected a dataset that carries its own split, found one without",
            remedy="Import its files with their labels: crossan data import --format mmrec SRC",
        )
    parts: Parts = interactions.column(PART_COLUMN).to_numpy().astype(np.int8)
    for name, part in PART_NAMES.items():
        if not (parts == part).any():
            raise DataError(
                f"data.split=fixed: expected interactions of each part, found none of {name}"
                f" among {len(parts):,}",
                remedy="Choose another split: --set data.split=leave-last-out",
            )
    return parts


def part_counts(interactions: pa.Table) -> dict[str, int] | None:
    """Return how many interactions are in each part, None for a dataset without its own split."""
    if PART_COLUMN not in interactions.column_names:
        return None
    parts = interactions.column(PART_COLUMN).to_numpy()
    return {name: int((parts == part).sum()) for name, part in PART_NAMES.items()}


def users_without(interactions: pa.Table) -> dict[str, list[str]]:
    """Return the users without an interaction in each part, sorted, by the name of the part."""
    parts = interactions.column(PART_COLUMN).to_numpy()
    users = interactions.column("user_id")
    everyone = set(users.unique().to_pylist())
    return {
        name: sorted(everyone - set(users.filter(pa.array(parts == part)).unique().to_pylist()))
        for name, part in PART_NAMES.items()
    }


def repeated_pairs(interactions: pa.Table) -> Examples:
    """Return the rows with the user and the item of an earlier row.

    An example names both rows, counted from 1 without a header, and says where their
    parts differ: what is held out is trained on then.
    """
    users, items = (_codes(interactions.column(name)) for name in ("user_id", "item_id"))
    order = np.lexsort((np.arange(len(users)), items, users))
    is_repeat = np.zeros(len(users), dtype=bool)
    is_repeat[1:] = (np.diff(users[order]) == 0) & (np.diff(items[order]) == 0)
    later = np.flatnonzero(is_repeat)
    rows = sorted(zip(order[later].tolist(), order[later - 1].tolist(), strict=True))
    shown = tuple(_pair_words(interactions, *pair) for pair in rows[:_SHOWN])
    return Examples(count=len(rows), examples=shown)


def split_notes(interactions: pa.Table) -> Iterator[str]:
    """Yield what an import says of the split in its files, a clause each."""
    counts = part_counts(interactions)
    if counts is None:
        return
    listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    yield f"a split of its own ({listed}), for data.split=fixed"
    for name, users in users_without(interactions).items():
        if users:
            yield f"users without an interaction in {name}: {len(users):,} ({_some(users)})"
    repeated = repeated_pairs(interactions)
    if repeated.count:
        examples = "; ".join(repeated.examples)
        yield f"rows with the user and item of an earlier row: {repeated.count:,} ({examples})"


def part_problems(interactions: pa.Table) -> Iterator[tuple[str, str, Sequence[str], int]]:
    """Yield code, words, examples and count of what is unusual of a dataset's own split."""
    if PART_COLUMN not in interactions.column_names:
        return
    for name, users in users_without(interactions).items():
        if users:
            what = f"users without an interaction in {name} by the dataset's own split"
            what += ": left out with data.split=fixed" if name == "train" else ""
            yield f"no-{name}", what, users, len(users)
    repeated = repeated_pairs(interactions)
    if repeated.count:
        what = "rows with the user and item of an earlier row, in a dataset with its own split"
        yield "repeated-pair", what, repeated.examples, repeated.count


def _pair_words(interactions: pa.Table, row: int, earlier: int) -> str:
    user, item = (
        shortened(interactions.column(name)[row].as_py()) for name in ("user_id", "item_id")
    )
    parts = interactions.column(PART_COLUMN)
    names = list(PART_NAMES)
    before, now = (names[parts[number].as_py()] for number in (earlier, row))
    where = f"in {now} and in {before}" if before != now else f"both in {now}"
    return f"row {row + 1:,} as row {earlier + 1:,}, user {user}, item {item}, {where}"


def _some(users: list[str]) -> str:
    more = [] if len(users) <= _SHOWN else ["..."]
    return ", ".join([*map(shortened, users[:_SHOWN]), *more])


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    codes: npt.NDArray[np.int64] = (
        pc.dictionary_encode(column).combine_chunks().indices.to_numpy().astype(np.int64)
    )
    return codes
