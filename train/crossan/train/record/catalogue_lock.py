"""The item ids of a run's catalogue, in the order of its rows.

Without them a learned vector per item would have no meaning.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.common.files import replace_durably

__all__ = ["read_catalogue", "settle_catalogue"]

_FILE = "catalogue.parquet"


def settle_catalogue(folder: Path, item_ids: np.ndarray) -> None:
    """Record the catalogue in a run folder, or compare it with the one that is recorded.

    Parameters
    ----------
    folder
        The run folder.
    item_ids
        The catalogue, ``(items,)``, sorted.

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
            f"--resume {folder}: this run has a vector for each of its {len(recorded):,} items,"
            f" found {len(item_ids):,}: {len(new):,} new, {len(gone):,} gone,"
            f" first: {[*new, *gone][0]}",
            remedy=f"Begin another run from its weights: --init {folder} --out {folder}-2",
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
