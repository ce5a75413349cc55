"""The item ids of a run's catalogue, in the order of its rows.

Without them a learned vector per item would have no meaning.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.common.files import replace_durably
from crossan.common.foreign import read_bounded

__all__ = ["carry_item_rows", "read_catalogue", "settle_catalogue"]

_FILE = "catalogue.parquet"
_LARGEST = 2**30
"""Bytes."""
_LONGEST_ID = 1024
"""Bytes, as in a dataset."""


def settle_catalogue(folder: Path, item_ids: np.ndarray, remedy: str) -> None:
    """Record the catalogue in a run folder, or compare it with the one that is recorded.

    Parameters
    ----------
    folder
        The run folder.
    item_ids
        The catalogue, ``(items,)``, sorted.
    remedy
        What the user can do where they differ.

    Raises
    ------
    IncompatibleError
        The run was started on other items.
    """
    if not (folder / _FILE).is_file():
        buffer = io.BytesIO()
        table = pa.table({"item_id": pa.array(item_ids.tolist(), pa.string())})
        pq.write_table(table, buffer, write_page_checksum=True)
        replace_durably(folder / _FILE, buffer.getvalue())
        return
    recorded = read_catalogue(folder)
    if not np.array_equal(recorded, item_ids):
        gone, new = np.setdiff1d(recorded, item_ids), np.setdiff1d(item_ids, recorded)
        raise IncompatibleError(
            f"--resume {folder}: this run has a row for each of its {len(recorded):,} items,"
            f" found {len(item_ids):,}: {len(new):,} new, {len(gone):,} gone,"
            f" first: {[*new, *gone][0]}",
            remedy=remedy,
        )


def read_catalogue(folder: Path) -> np.ndarray:
    """Return the catalogue that is recorded in a run folder, ``(items,)``, sorted.

    Raises
    ------
    StoreIntegrityError
        The file is missing or damaged.
    """
    path = folder / _FILE
    try:
        data = read_bounded(path, StoreIntegrityError, _LARGEST)
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            column = file.read(["item_id"], use_threads=False).column("item_id")
        column.validate(full=True)
    except (FileNotFoundError, NotADirectoryError, pa.ArrowException, KeyError, OSError) as error:
        raise StoreIntegrityError(
            f"{path}: expected the run's item ids, cannot read them: {error}"
        ) from None
    if column.type != pa.string() or column.null_count:
        raise StoreIntegrityError(
            f"{path}: expected an item id in every row, found {column.type} and"
            f" {column.null_count:,} nulls"
        )
    # In one array of texts, the longest decides how much room each takes.
    longest = pc.max(pc.binary_length(column)).as_py() or 0
    if longest > _LONGEST_ID:
        raise StoreIntegrityError(
            f"{path}: expected item ids of {_LONGEST_ID:,} bytes at most, found {longest:,}"
        )
    item_ids = np.array(column.to_pylist(), dtype=np.str_)
    # Rows are looked up by halving, which finds wrong ones where the ids are not in order.
    if (item_ids[1:] <= item_ids[:-1]).any():
        raise StoreIntegrityError(f"{path}: expected each item id once, in order")
    return item_ids


def carry_item_rows(
    weights: Mapping[str, Tensor],
    old_items: np.ndarray,
    initial: Mapping[str, Tensor],
    new_items: np.ndarray,
) -> dict[str, Tensor]:
    """Return the weights of a run with their item rows moved to another catalogue.

    Parameters
    ----------
    weights
        Those of the run, by name.
    old_items
        Item ids of the run's catalogue, ``(old items,)``, sorted.
    initial
        Where the rows of new items begin, ``(new items, ...)``, by the name of
        every weight that has such rows. Items that nobody had in training in
        that run begin there too.
    new_items
        Item ids of the other catalogue, ``(new items,)``, sorted.

    Raises
    ------
    StoreIntegrityError
        The weights are not of the old catalogue.
    """
    for name in initial:
        if name not in weights or len(weights[name]) != len(old_items):
            raise StoreIntegrityError(
                f"{_FILE}: expected an item id for every row of the weights {name},"
                f" found {len(old_items):,}"
            )
    # The position where an item would stand; an item after the last would stand past the end.
    old_rows = np.searchsorted(old_items, new_items).clip(max=len(old_items) - 1)
    is_same_item = torch.from_numpy(old_items[old_rows] == new_items)
    carried = {}
    for name, beginning in initial.items():
        rows = weights[name][torch.from_numpy(old_rows)]
        # A row of zeros was never trained: it carries nothing that is worth more than `initial`.
        is_carried = is_same_item & (rows != 0).view(len(rows), -1).any(dim=1)
        shape = (-1, *[1] * (rows.ndim - 1))
        carried[name] = torch.where(is_carried.view(shape), rows, beginning.detach().to(rows))
    return {**weights, **carried}
