"""The item index of a segment, which is the content of ``items.parquet``.

It says what the segment knows of its items.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.modality import ItemStatus
from crossan.cache_schema.segment import ITEM_INDEX, SegmentRecord
from crossan.common.stores.index_bounds import require_bounded, require_short_texts
from crossan.common.stores.records import StagedItem

__all__ = ["NO_ROW", "STATUSES", "SegmentItems", "index_bytes", "parse_items", "read_texts"]

STATUSES = tuple(ItemStatus)
"""An item's status is kept as its position in this tuple."""
NO_ROW = -1
_OK = STATUSES.index(ItemStatus.OK)
_BLOCK = 65_536
_COLUMNS = ("item_id", "content_digest", "status", "reason", "row")
_TEXTS = ("item_id", "content_digest", "status", "reason")
_STAMP = "stamp"


@dataclass(frozen=True, slots=True)
class SegmentItems:
    """The item index of one segment.

    The arrays are parallel.
    """

    item_ids: npt.NDArray[np.str_]
    statuses: npt.NDArray[np.uint8]
    """Positions in `STATUSES`."""
    rows: npt.NDArray[np.int64]
    """`NO_ROW` where an item has none."""
    stamps: npt.NDArray[np.int64]
    """When each was written.

    All are the same, and take no memory, but in a compaction or what was rescued of one.
    """
    data: bytes
    """The Parquet file, from which the texts are read when a caller needs them."""

    def texts(self, column: str) -> list[str | None]:
        """Return ``content_digest`` or ``reason`` of each item."""
        return read_texts(self.data, column)


def parse_items(data: bytes, record: SegmentRecord, where: str) -> SegmentItems:
    """Read the bytes of an item index.

    Raises
    ------
    StoreIntegrityError
        Not a Parquet file of these columns, or one that contradicts ``segment.json``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        names, metadata = _read_schema(data)
        row_count = int(metadata.num_rows)
        require_bounded(metadata, len(data), where)
        if tuple(names) not in (_COLUMNS, (*_COLUMNS, _STAMP)) or row_count != record.item_count:
            raise StoreIntegrityError(
                f"{where}: expected {record.item_count:,} items with {', '.join(_COLUMNS)}, "
                f"found {row_count:,} with {', '.join(names)}"
            )
        # Before a row is read: what a file asks for may be any number of times its size.
        require_short_texts(data, _TEXTS, where)
        table = _read_columns(data, ["item_id", "status", "row"])
        known = pa.array([status.value for status in STATUSES])
        statuses = pc.index_in(table.column("status").cast(pa.string()), known).combine_chunks()
        rows = table.column("row").cast(pa.int64()).fill_null(-1).to_numpy()
        item_ids = table.column("item_id").cast(pa.string())
        item_ids.validate(full=True)  # its UTF-8, at which Arrow does not look when it reads
        if _STAMP in names:
            stamps = _stamps(data, record, where)
        else:
            # A view of one number, so that the stamps of a million items take eight bytes.
            stamps = np.broadcast_to(np.int64(record.stamp), row_count)
    # UnicodeDecodeError: Arrow takes the names of columns as they come.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StoreIntegrityError(
            f"{where}: expected a Parquet file of {', '.join(_COLUMNS)}: {error}"
        ) from error
    if statuses.null_count:
        raise StoreIntegrityError(f"{where}: expected a known status for each item, found another")
    if item_ids.null_count:
        raise StoreIntegrityError(
            f"{where}: expected each item id once, found one repeated or null"
        )
    codes = statuses.to_numpy().astype(np.uint8)
    with_row = rows[rows != NO_ROW]
    is_whole = len(with_row) == record.row_count and np.array_equal(
        np.sort(with_row), np.arange(record.row_count)
    )
    if not is_whole or not np.array_equal(codes == _OK, rows != NO_ROW):
        raise StoreIntegrityError(
            f"{where}: expected rows 0 to {record.row_count - 1} once each "
            "for the items that are ok"
        )
    return SegmentItems(_item_ids(item_ids, where), codes, rows, stamps, data)


def read_texts(data: bytes, column: str) -> list[str | None]:
    """Return ``content_digest`` or ``reason`` of each item of an index that was parsed before."""
    import pyarrow as pa

    texts = _read_columns(data, [column]).column(0)
    try:
        texts.validate(full=True)  # its UTF-8, at which Arrow does not look when it reads
    except pa.ArrowInvalid as error:
        raise StoreIntegrityError(f"{ITEM_INDEX}: {column}: {error}") from error
    content: list[str | None] = texts.to_pylist()
    return content


def _stamps(data: bytes, record: SegmentRecord, where: str) -> npt.NDArray[np.int64]:
    import pyarrow as pa

    column = _read_columns(data, [_STAMP]).column(0).cast(pa.int64()).fill_null(-1)
    stamps: npt.NDArray[np.int64] = column.to_numpy()
    if stamps.size and not 0 <= stamps.min() <= stamps.max() <= record.stamp:
        raise StoreIntegrityError(
            f"{where}: expected stamps from 0 to the segment's {record.stamp}, "
            f"found {stamps.min()} to {stamps.max()}"
        )
    return stamps


def _item_ids(column: Any, where: str) -> npt.NDArray[np.str_]:  # noqa: ANN401 - pyarrow is untyped
    import pyarrow.compute as pc

    longest = pc.max(pc.utf8_length(column)).as_py() or 1
    item_ids = np.empty(len(column), dtype=f"U{longest}")
    # In blocks: a million Python strings at once take 60 MiB.
    for start in range(0, len(column), _BLOCK):
        item_ids[start : start + _BLOCK] = column.slice(start, _BLOCK).to_numpy()
    ordered = item_ids if (item_ids[1:] > item_ids[:-1]).all() else np.sort(item_ids)
    if (ordered[1:] == ordered[:-1]).any() or (ordered[:1] == "").any():
        raise StoreIntegrityError(
            f"{where}: expected each item id once, found one repeated or empty"
        )
    return item_ids


def _read_schema(data: bytes) -> tuple[list[str], Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(data)) as file:
        return list(file.schema_arrow.names), file.metadata


def _read_columns(data: bytes, names: list[str]) -> Any:  # noqa: ANN401 - pyarrow is untyped
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Not read_table: one of its threads may still hold the buffer when the interpreter ends,
    # and abort it.
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        return file.read(columns=names, use_threads=False)


def index_bytes(items: Sequence[StagedItem]) -> bytes:
    """Return the Parquet file of some items.

    Those with an offset get the rows from 0 on, in their order. The file has a column
    of stamps only where an item has a stamp of its own.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row_numbers = iter(range(len(items)))
    columns = {
        "item_id": pa.array([item.item_id for item in items], pa.string()),
        "content_digest": pa.array([item.content_digest for item in items], pa.string()),
        "status": pa.array([item.status.value for item in items], pa.string()),
        "reason": pa.array([item.reason for item in items], pa.string()),
        "row": pa.array(
            [None if item.offset is None else next(row_numbers) for item in items], pa.int64()
        ),
    }
    if any(item.stamp is not None for item in items):
        columns[_STAMP] = pa.array([item.stamp for item in items], pa.int64())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()
