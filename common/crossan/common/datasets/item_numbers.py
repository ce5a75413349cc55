"""The numbers that MMRec knows items by, in the table that tells whose each is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import UsageError
from crossan.common.console import note
from crossan.common.foreign import read_bounded

__all__ = ["MAPPING_FILE", "item_numbers", "mapping_text"]

MAPPING_FILE = "i_id_mapping.csv"
"""As ``crossan cache export mmrec`` names it beside features."""
_HEADER = "item_id\titemID"
_LARGEST = 2**30
"""Bytes."""


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
