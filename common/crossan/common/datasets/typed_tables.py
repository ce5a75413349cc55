"""The two tables of a dataset folder, typed and checked on their way in and out.

A folder can come from anyone, so that what is read of one is checked as what is
written to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.item_id import LONGEST_ID_BYTES, id_fault
from crossan.common.datasets.columns import first_row, ids_of, row_error, texts_of
from crossan.common.datasets.parquet import opened_parquet, read_columns
from crossan.common.shared_texts import shared_texts

__all__ = [
    "INTERACTION_SCHEMA",
    "ITEM_SCHEMA",
    "PARTED_SCHEMA",
    "PART_COLUMN",
    "read_typed",
    "typed",
]

INTERACTION_SCHEMA = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64())]
)
"""One row per interaction. The timestamp is in milliseconds, null for file order."""

PART_COLUMN = "part"
PARTED_SCHEMA = INTERACTION_SCHEMA.append(pa.field(PART_COLUMN, pa.int8()))
"""The same of a dataset with a split of its own: 0 for training, 1 for validation, 2 for test."""

ITEM_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("item_id", "title", "image", "video", "audio")]
)
"""One row per item.

Paths are relative to the folder or absolute. Where audio is null the sound track
of the video is meant.
"""

_FREE_BYTES = 2**30
_BYTES_PER_FILE_BYTE = 64
"""Text that a file may hold unpacked: no compression of texts that differ does better."""
_ID_COLUMNS = ("user_id", "item_id")
_PATH_COLUMNS = ("image", "video", "audio")


def read_typed(path: Path, schema: pa.Schema, row_count: int) -> pa.Table:
    """Read a table of a dataset folder.

    Parameters
    ----------
    path
        ``interactions.parquet`` or ``items.parquet``.
    schema
        `INTERACTION_SCHEMA`, `PARTED_SCHEMA` or `ITEM_SCHEMA`.
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
            types = file.schema_arrow
            _require_columns(types.names, schema, path)
            _require_room(
                path, [name for name in schema.names if _is_shared(types.field(name).type)]
            )
            columns = _typed_columns(read_columns(file, ids), schema, path)
            columns |= _typed_columns(read_columns(file, others), schema, path)
    except FileNotFoundError:
        raise DataError(f"{path}: expected a parquet table, found no file") from None
    return pa.table(columns, schema=schema)


def _require_room(path: Path, names: Sequence[str]) -> None:
    """Refuse texts that rows share and that are too much when each row has its own copy."""
    byte_count = path.stat().st_size
    most = _FREE_BYTES + _BYTES_PER_FILE_BYTE * byte_count
    unpacked = dict.fromkeys(names, 0)
    for row_count, name, texts in shared_texts(path, names):
        longest = pc.max(pc.binary_length(texts)).as_py() or 0
        if name in _ID_COLUMNS and longest > LONGEST_ID_BYTES:
            raise _long_id_error(path, name)
        unpacked[name] += longest * row_count
    for name, upper_bound in unpacked.items():
        if upper_bound > most and _unpacked_bytes(path, name) > most:
            raise DataError(
                f"{path}, column {name}: expected up to {most:,} bytes of text "
                f"in a file of {byte_count:,}, found more"
            )


def _as_shared(path: Path, name: str) -> list[pa.DictionaryArray]:
    with pq.ParquetFile(path, read_dictionary=[name]) as file:
        chunks: list[pa.DictionaryArray] = read_columns(file, [name]).column(name).chunks
    return chunks


def _long_id_error(path: Path, name: str) -> DataError:
    before = 0
    for chunk in _as_shared(path, name):
        is_long = pc.greater(pc.binary_length(chunk.dictionary), LONGEST_ID_BYTES)
        row = first_row(is_long.take(chunk.indices))
        if row >= 0:
            text = pc.cast(chunk.dictionary, pa.large_binary())[chunk.indices[row].as_py()].as_py()
            return row_error(
                path, name, before + row, str(id_fault(text.decode("utf-8", "replace")))
            )
        before += len(chunk)
    return DataError(f"{path}, column {name}: expected ids of at most {LONGEST_ID_BYTES:,} bytes")


def _unpacked_bytes(path: Path, name: str) -> int:
    chunks = _as_shared(path, name)
    lengths = (pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in chunks)
    return sum(pc.sum(pc.cast(length, pa.int64())).as_py() or 0 for length in lengths)


def typed(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """Return the columns of a schema, in its types.

    Parameters
    ----------
    table
        A table with these columns, of any type that can become theirs.
    schema
        `INTERACTION_SCHEMA`, `PARTED_SCHEMA` or `ITEM_SCHEMA`.
    path
        Where the table comes from or goes to, for messages.

    Raises
    ------
    DataError
        As `read_typed`.
    """
    _require_columns(table.column_names, schema, path)
    return pa.table(_typed_columns(table, schema, path), schema=schema)


def _is_shared(kind: pa.DataType) -> bool:
    """Return whether a Parquet file keeps texts of this type once for many rows."""
    inner = kind.value_type if pt.is_dictionary(kind) else kind
    return any(
        is_kind(inner)
        for is_kind in (pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary)
    )


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
        elif name == PART_COLUMN:
            columns[name] = _parts(column, path)
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


def _parts(column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    if not pt.is_integer(column.type):
        raise DataError(
            f"{path}, column {PART_COLUMN}: expected 0, 1 and 2 as int8, found {column.type}"
        )
    is_part = pc.fill_null(pc.is_in(column, value_set=pa.array([0, 1, 2], column.type)), False)
    if not pc.all(is_part).as_py() and len(column):
        row = first_row(pc.invert(is_part))
        raise row_error(
            path, PART_COLUMN, row, f"expected 0, 1 or 2, found {column[row].as_py() or 'null'}"
        )
    return pc.cast(column, pa.int8())


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
