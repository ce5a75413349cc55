"""The two tables of a dataset folder, typed and checked on their way in and out.

A folder can come from anyone, so that what is read of one is checked as what is
written to one.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from crossan.cache_schema.errors import DataError
from crossan.common.datasets.columns import first_row, ids_of, row_error, texts_of
from crossan.common.datasets.parquet import opened_parquet, read_columns

__all__ = ["INTERACTION_SCHEMA", "ITEM_SCHEMA", "read_typed", "typed"]

INTERACTION_SCHEMA = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64())]
)
"""One row per interaction. The timestamp is in milliseconds, null for file order."""

ITEM_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("item_id", "title", "image", "video", "audio")]
)
"""One row per item.

Paths are relative to the folder or absolute. Where audio is null the sound track
of the video is meant.
"""

_ID_COLUMNS = ("user_id", "item_id")
_PATH_COLUMNS = ("image", "video", "audio")


def read_typed(path: Path, schema: pa.Schema, row_count: int) -> pa.Table:
    """Read a table of a dataset folder.

    Parameters
    ----------
    path
        ``interactions.parquet`` or ``items.parquet``.
    schema
        `INTERACTION_SCHEMA` or `ITEM_SCHEMA`.
    row_count
        The rows that ``dataset.json`` counts. A file of other rows is not read: a small
        one can hold more than memory does.

    Raises
    ------
    DataError
        No such table, or values that are none of its own. The message names file, column
        and row.
    ResourceError
        The file may not be read.
    """
    ids = [name for name in schema.names if name in _ID_COLUMNS]
    others = [name for name in schema.names if name not in _ID_COLUMNS]
    try:
        with opened_parquet(path) as file:
            if file.metadata.num_rows != row_count:
                raise DataError(
                    f"{path}: expected {row_count:,} rows, as dataset.json says, "
                    f"found {file.metadata.num_rows:,}"
                )
            _require_columns(file.schema_arrow.names, schema, path)
            columns = _typed_columns(read_columns(file, ids), schema, path)
            columns |= _typed_columns(read_columns(file, others), schema, path)
    except FileNotFoundError:
        raise DataError(f"{path}: expected a parquet table, found no file") from None
    return pa.table(columns, schema=schema)


def typed(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """Return the columns of a schema, in its types.

    Parameters
    ----------
    table
        A table with these columns, of any type that can become theirs.
    schema
        `INTERACTION_SCHEMA` or `ITEM_SCHEMA`.
    path
        Where the table comes from or goes to, for messages.

    Raises
    ------
    DataError
        As `read_typed`.
    """
    _require_columns(table.column_names, schema, path)
    return pa.table(_typed_columns(table, schema, path), schema=schema)


def _require_columns(names: list[str], schema: pa.Schema, path: Path) -> None:
    if any(names.count(name) != 1 for name in schema.names):
        raise DataError(
            f"{path}: expected the columns {', '.join(schema.names)} once each, "
            f"found {', '.join(names)}"
        )


def _typed_columns(table: pa.Table, schema: pa.Schema, path: Path) -> dict[str, pa.ChunkedArray]:
    columns = {}
    for name in schema.names:
        if name not in table.column_names:
            continue
        column = table.column(name)
        if name in _ID_COLUMNS:
            columns[name] = ids_of(column, source=path, name=name)
        elif name == "timestamp":
            columns[name] = _milliseconds(column, path)
        else:
            columns[name] = texts_of(column, source=path, name=name)
        if name in _PATH_COLUMNS:
            _refuse_nul(columns[name], path, name)
    if schema is ITEM_SCHEMA and "item_id" in columns:
        _require_once(columns["item_id"], path)
    return columns


def _milliseconds(column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    if not (pt.is_integer(column.type) or pt.is_null(column.type)):
        raise DataError(
            f"{path}, column timestamp: expected milliseconds as int64, found {column.type}"
        )
    try:
        return pc.cast(column, pa.int64())
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}, column timestamp: {error}") from None


def _refuse_nul(paths: pa.ChunkedArray, path: Path, name: str) -> None:
    has_nul = pc.match_substring(paths, "\0")
    if pc.any(has_nul).as_py():
        raise row_error(path, name, first_row(has_nul), "expected a path, found one with a NUL")


def _require_once(item_ids: pa.ChunkedArray, path: Path) -> None:
    if len(item_ids.unique()) == len(item_ids):
        return
    counts = item_ids.value_counts()
    is_repeated = pc.greater(counts.field("counts"), 1)
    repeated = sorted(counts.field("values").filter(is_repeated).to_pylist())
    row = first_row(pc.equal(item_ids, repeated[0]))
    raise row_error(
        path,
        "item_id",
        row,
        f"expected each item id once, found {len(repeated):,} repeated, first: {repeated[0]}",
    )
