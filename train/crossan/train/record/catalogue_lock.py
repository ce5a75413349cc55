"""The item ids of a run's catalogue, in the order of its rows.

Without them a learned vector per item would have no meaning.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.common.files import replace_durably

__all__ = ["carry_item_rows", "read_catalogue", "settle_catalogue"]

_FILE = "catalogue.parquet"


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
        pq.write_table(pa.table({"item_id": pa.array(item_ids.tolist(), pa.string())}), buffer)
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
        item_ids = pq.read_table(path, memory_map=False).column("item_id").to_pylist()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise StoreIntegrityError(
            f"{path}: expected the run's item ids, cannot read them: {error}"
        ) from None
    return np.array(item_ids, dtype=np.str_)


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
    """
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
