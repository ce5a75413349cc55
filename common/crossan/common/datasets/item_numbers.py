"""The numbers that MMRec knows users and items by, in the tables that tell whose each is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.item_id import shortened
from crossan.common.console import note
from crossan.common.datasets.columns import ids_of
from crossan.common.datasets.tables import column_names, read_table
from crossan.common.foreign import read_bounded

__all__ = ["MAPPING_FILE", "USER_MAPPING_FILE", "ids_by_number", "item_numbers", "mapping_text"]

MAPPING_FILE = "i_id_mapping.csv"
"""As ``crossan cache export mmrec`` names it beside features."""
USER_MAPPING_FILE = "u_id_mapping.csv"
_HEADER = "item_id\titemID"
_LARGEST = 2**30
"""Bytes."""


def ids_by_number(path: Path, number_column: str) -> dict[str, str]:
    """Return whose each number is, as MMRec's tables of users or items say.

    Parameters
    ----------
    path
        A table with a header. The id is in its first other column, or is the number itself
        where there is no other.
    number_column
        ``userID`` or ``itemID``.

    Returns
    -------
    dict
        From the digits of a number to the id, in the order of the file.

    Raises
    ------
    UsageError, DataError, ResourceError
        As `read_table`; or it has no such column, or a number or an id twice.
    """
    names = column_names(path)
    if names.count(number_column) != 1:
        raise DataError(
            f"{path}: expected a table with the column {number_column},"
            f" found {shortened(','.join(names))}"
        )
    # The first other column, or the numbers themselves.
    id_column = min(names, key=lambda name: name == number_column)
    table = read_table(path, [number_column, id_column])
    numbers, ids = (
        ids_of(table.column(name), source=path, name=name).to_pylist()
        for name in (number_column, id_column)
    )
    for name, values in ((number_column, numbers), (id_column, ids)):
        _require_once(values, path, name)
    return dict(zip(numbers, ids, strict=True))


def _require_once(values: list[str], path: Path, name: str) -> None:
    if len(set(values)) == len(values):
        return
    rows: dict[str, int] = {}
    for row, value in enumerate(values, 1):
        if value in rows:
            raise DataError(
                f"{path}, column {name}, row {row:,}: expected each once, "
                f"found {shortened(value)} as in row {rows[value]:,}"
            )
        rows[value] = row


def item_numbers(path: Path, item_ids: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """Return a number for each item, ``(items,)``.

    Where features were exported into the folder before, they are the rows of these;
    else they count the items from 0 in the order of their ids.

    Parameters
    ----------
    path
        The table, which need not be there.
    item_ids
        The catalogue, ``(items,)``, sorted.

    Raises
    ------
    UsageError
        There is another file, or it lacks some of the items.
    """
    try:
        lines = read_bounded(path, UsageError, _LARGEST).decode("utf-8", "replace").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return np.arange(len(item_ids))
    fields = [line.split("\t") for line in lines[1:] if line]
    if lines[0] != _HEADER or any(len(row) != 2 or not row[1].isdecimal() for row in fields):
        raise UsageError(
            f"{path}: expected the table of an earlier export, found another file",
            remedy="Name another --out, or move it away",
        )
    numbers = {name: int(number) for name, number in fields}
    lacking = [item for item in item_ids.tolist() if item not in numbers]
    if lacking or len(set(numbers.values())) < len(fields):
        raise UsageError(
            f"{path}: expected a number of its own for each of the dataset's"
            f" {len(item_ids):,} items, found {len(lacking):,} without, first:"
            f" {(lacking or ['none'])[0]}",
            remedy="Export features of all items first (crossan cache export mmrec), or name"
            " another --out",
        )
    if len(numbers) > len(item_ids):
        note(f"{path}: {len(numbers) - len(item_ids):,} of its items are in no kept interaction")
    return np.array([numbers[item] for item in item_ids.tolist()], dtype=np.int64)


def mapping_text(ours: str, theirs: str, numbers: Iterable[tuple[str, int]]) -> bytes:
    """Return a table of whose each number is."""
    rows = "".join(f"{name}\t{number}\n" for name, number in numbers)
    return f"{ours}\t{theirs}\n{rows}".encode()
