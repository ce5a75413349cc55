"""MMRec's files: numbered interactions with their parts, whose each number is, and titles.

``NAME.inter`` has ``userID``, ``itemID``, ``x_label`` (0 for training, 1 for
validation, 2 for test), and often ``rating`` and ``timestamp``. Where
``u_id_mapping.csv`` or ``i_id_mapping.csv`` lies beside it, ids are what that says,
else the numbers; ``meta-NAME.csv``, which MMRec's notebooks write, has titles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from crossan.cache_schema.item_id import shortened
from crossan.common.datasets.columns import first_row, row_error
from crossan.common.datasets.formats.recbole import refuse_sequences
from crossan.common.datasets.formats.source import (
    ImportSource,
    SourceTables,
    empty_items,
    find,
    the_only,
)
from crossan.common.datasets.formats.tabular import interactions_from, items_from
from crossan.common.datasets.item_numbers import MAPPING_FILE, USER_MAPPING_FILE, ids_by_number
from crossan.common.datasets.report import TableReading
from crossan.common.datasets.tables import column_names

__all__ = ["read_mmrec"]

_META_FILES = ("meta-*.csv", "meta_*.csv", "meta.csv")
_ITEM_NUMBER, _USER_NUMBER = "itemID", "userID"


def read_mmrec(source: ImportSource) -> SourceTables:
    """Read ``*.inter`` with its own split, and titles where there are some.

    Raises
    ------
    UsageError
        A file or a column is missing.
    DataError
        A label is none, or a number is of nobody. The message names the row.
    """
    refuse_sequences(source)
    path = source.interactions or the_only(source.root, ("*.inter",))
    interactions, times, reading = interactions_from(path, source, has_parts=True)
    if "part" not in reading.columns:
        note = "no x_label, so no split of its own"
        reading = reading.model_copy(update={"notes": (*reading.notes, note)})
    mappings = {
        "user_id": (path.parent / USER_MAPPING_FILE, _USER_NUMBER),
        "item_id": (path.parent / MAPPING_FILE, _ITEM_NUMBER),
    }
    files, readings, items = [path], [reading], empty_items()
    for ours, (mapping_file, number_name) in mappings.items():
        if mapping_file.is_file():
            ids = ids_by_number(mapping_file, number_name)
            column = _named(
                interactions.column(ours), ids, path, reading.columns[ours], mapping_file
            )
            position = interactions.column_names.index(ours)
            interactions = interactions.set_column(position, ours, column)
            files.append(mapping_file)
    meta = source.items or find(path.parent, _META_FILES)
    if meta is not None:
        items, meta_reading = _titles(meta, source, path.parent / MAPPING_FILE)
        files.append(meta)
        readings.append(meta_reading)
    return SourceTables(
        interactions=interactions,
        items=items,
        times=times,
        readings=tuple(readings),
        files=tuple(files),
    )


def _titles(meta: Path, source: ImportSource, mapping_file: Path) -> tuple[pa.Table, TableReading]:
    """Read a table of items, whose ids are MMRec's numbers or what these stand for."""
    if "item_id" not in source.columns and _ITEM_NUMBER in column_names(meta):
        # The table has the publisher's ids beside the numbers: the numbers are the sure ones.
        source = replace(source, columns={**source.columns, "item_id": _ITEM_NUMBER})
    items, reading = items_from(meta, source)
    if reading.columns["item_id"] == _ITEM_NUMBER and mapping_file.is_file():
        ids = ids_by_number(mapping_file, _ITEM_NUMBER)
        column = _named(items.column("item_id"), ids, meta, _ITEM_NUMBER, mapping_file)
        items = items.set_column(items.column_names.index("item_id"), "item_id", column)
    return items, reading


def _named(
    numbers: pa.ChunkedArray,
    ids: Mapping[str, str],
    path: Path,
    name: str,
    mapping_file: Path,
) -> pa.ChunkedArray:
    """Return whose each number is, ``(rows,)``."""
    places = pc.index_in(numbers, value_set=pa.array(ids.keys(), pa.string()))
    if places.null_count:
        row = first_row(pc.is_null(places))
        number = shortened(numbers[row].as_py())
        raise row_error(
            path, name, row, f"expected a number that {mapping_file.name} lists, found {number}"
        )
    return pc.take(pa.chunked_array([pa.array(ids.values(), pa.string())]), places)
