"""One segment's files: written whole from staged items, read back against their digests."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossan.cache_schema.canonical import parse_object, pretty_bytes, sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import STORED_DTYPES, ArrayLayout, chunk_item_count, chunk_path, group_metadata
from crossan.cache_schema.manifest import SegmentEntry
from crossan.cache_schema.modality import ItemStatus
from crossan.cache_schema.segment import ARRAY_METADATA, GROUP_METADATA, ITEM_INDEX, FileEntry, SegmentRecord
from crossan.common.stores.chunks import encode_chunk
from crossan.common.stores.files import fsync_folder, read_regular, write_durably
from crossan.common.stores.records import StagedItem
from crossan.common.stores.values import bits_dtype, fill_rows

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Segment", "SegmentItems", "parse_items", "read_segment", "write_segment"]

_COLUMNS = ("item_id", "content_digest", "status", "reason", "row")


@dataclass(frozen=True, slots=True)
class SegmentItems:
    """The item index of one segment; the lists are parallel, ``rows`` holds -1 where an item has none."""

    item_ids: list[str]
    content_digests: list[str | None]
    statuses: list[ItemStatus]
    reasons: list[str | None]
    rows: list[int]


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment opened for reading; its metadata has been checked, its chunks have not."""

    path: Path
    record: SegmentRecord
    layout: ArrayLayout
    items: SegmentItems


def write_segment(
    folder: Path,
    segment_id: str,
    identity: StoreIdentity,
    items: Sequence[StagedItem],
    read_row: Callable[[int], bytes],
    producer: Mapping[str, Any],
) -> str:
    """Write every file of a segment to a new folder and wait until they are on the disk.

    Parameters
    ----------
    folder
        Where to write; must not exist.
    segment_id
        Its id.
    identity
        Of the store.
    items
        What the segment knows, each item once, sorted by item id.
    read_row
        From a staged item's offset to the bytes of its row.
    producer
        Recorded as it is.

    Returns
    -------
    str
        SHA-256 of ``segment.json``.
    """
    with_rows = [item for item in items if item.offset is not None]
    row_bytes = len(identity.layers) * identity.dim * STORED_DTYPES[identity.stored_dtype].byte_count
    layout = ArrayLayout(
        item_count=len(with_rows),
        chunk_items=chunk_item_count(row_bytes, len(with_rows)),
        layer_count=len(identity.layers),
        dim=identity.dim,
        stored_dtype=identity.stored_dtype,
        codec=identity.codec,
    )
    folder.mkdir()
    files = [
        _write(folder, GROUP_METADATA, pretty_bytes(group_metadata())),
        _write(folder, ARRAY_METADATA, pretty_bytes(layout.to_zarr())),
        _write(folder, ITEM_INDEX, _index_bytes(items)),
        *(_write_chunk(folder, number, layout, with_rows, read_row) for number in range(layout.chunk_count)),
    ]
    record = SegmentRecord(
        segment_id=segment_id,
        fingerprint=identity.fingerprint,
        item_count=len(items),
        row_count=len(with_rows),
        files=tuple(files),
        producer=producer,
    )
    data = pretty_bytes(record.to_dict())
    write_durably(folder / "segment.json", data)
    for inner in sorted(path for path in folder.rglob("*") if path.is_dir()):
        fsync_folder(inner)
    fsync_folder(folder)
    return sha256_hex(data)


def read_segment(store: Path, entry: SegmentEntry, identity: StoreIdentity) -> Segment:
    """Open one segment: every file but the chunks is read and checked against its SHA-256.

    Raises
    ------
    StoreIntegrityError
        A file is not there or holds other bytes than recorded. Names the file.
    """
    path = store / "segments" / entry.segment_id
    where = str(path / "segment.json")
    data = read_regular(store, f"segments/{entry.segment_id}/segment.json")
    if sha256_hex(data) != entry.sha256:
        raise StoreIntegrityError(f"{where}: expected SHA-256 {entry.sha256}, found {sha256_hex(data)}")
    record = SegmentRecord.from_dict(parse_object(data, where), where)
    if record.segment_id != entry.segment_id or record.fingerprint != identity.fingerprint:
        raise StoreIntegrityError(f"{where}: expected segment {entry.segment_id} of this store, found another")
    contents = {name: _read_checked(path, record.file(name)) for name in (GROUP_METADATA, ARRAY_METADATA, ITEM_INDEX)}
    group_where, array_where = str(path / GROUP_METADATA), str(path / ARRAY_METADATA)
    if parse_object(contents[GROUP_METADATA], group_where) != group_metadata():
        raise StoreIntegrityError(f"{group_where}: expected a Zarr v3 group without attributes, found something else")
    layout = ArrayLayout.from_zarr(parse_object(contents[ARRAY_METADATA], array_where), array_where)
    _check_layout(layout, record, identity, array_where)
    return Segment(path, record, layout, parse_items(contents[ITEM_INDEX], record, str(path / ITEM_INDEX)))


def parse_items(data: bytes, record: SegmentRecord, where: str) -> SegmentItems:
    """Read the bytes of an item index.

    Raises
    ------
    StoreIntegrityError
        Not a Parquet file of the five columns, or one that contradicts ``segment.json``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not read_table: one of its threads may still hold the buffer when the interpreter ends, and abort it.
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            table = file.read(columns=list(_COLUMNS), use_threads=False)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise StoreIntegrityError(f"{where}: expected a Parquet file of {', '.join(_COLUMNS)}: {error}") from error
    if tuple(table.column_names) != _COLUMNS or table.num_rows != record.item_count:
        raise StoreIntegrityError(
            f"{where}: expected {record.item_count:,} items with {', '.join(_COLUMNS)}, "
            f"found {table.num_rows:,} with {', '.join(table.column_names)}"
        )
    columns = table.to_pydict()
    try:
        statuses = [ItemStatus(status) for status in columns["status"]]
    except ValueError as error:
        raise StoreIntegrityError(f"{where}: expected a known status for each item: {error}") from error
    rows = [-1 if row is None else row for row in columns["row"]]
    has_row = [status is ItemStatus.OK for status in statuses]
    if has_row != [row >= 0 for row in rows] or sorted(row for row in rows if row >= 0) != list(
        range(record.row_count)
    ):
        raise StoreIntegrityError(
            f"{where}: expected rows 0 to {record.row_count - 1} once each for the items that are ok"
        )
    if len(set(columns["item_id"])) != record.item_count or not all(isinstance(key, str) for key in columns["item_id"]):
        raise StoreIntegrityError(f"{where}: expected each item id once, found one repeated or null")
    return SegmentItems(columns["item_id"], columns["content_digest"], statuses, columns["reason"], rows)


def _check_layout(layout: ArrayLayout, record: SegmentRecord, identity: StoreIdentity, where: str) -> None:
    found = (layout.item_count, layout.layer_count, layout.dim, layout.stored_dtype, layout.codec, layout.chunk_count)
    rows = record.row_count
    expected = (rows, len(identity.layers), identity.dim, identity.stored_dtype, identity.codec, len(record.chunks))
    if found != expected:
        raise StoreIntegrityError(
            f"{where}: expected items, layers, dim, dtype, codec and chunks {expected}, found {found}"
        )


def _read_checked(folder: Path, entry: FileEntry) -> bytes:
    data = read_regular(folder, entry.path)
    if sha256_hex(data) != entry.sha256:
        raise StoreIntegrityError(f"{folder / entry.path}: expected SHA-256 {entry.sha256}, found {sha256_hex(data)}")
    return data


def _write(folder: Path, relative: str, data: bytes, crc: int | None = None) -> FileEntry:
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, data)
    return FileEntry(relative, len(data), sha256_hex(data), crc)


def _write_chunk(
    folder: Path, number: int, layout: ArrayLayout, items: Sequence[StagedItem], read_row: Callable[[int], bytes]
) -> FileEntry:
    rows = fill_rows((layout.chunk_items, layout.layer_count, layout.dim), layout.stored_dtype)
    dtype = bits_dtype(layout.stored_dtype)
    for place, item in enumerate(items[number * layout.chunk_items : (number + 1) * layout.chunk_items]):
        assert item.offset is not None
        rows[place] = np.frombuffer(read_row(item.offset), dtype).reshape(rows.shape[1:])
    data, crc = encode_chunk(rows, layout)
    return _write(folder, chunk_path(number), data, crc)


def _index_bytes(items: Sequence[StagedItem]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = iter(range(len(items)))
    table = pa.table(
        {
            "item_id": pa.array([item.item_id for item in items], pa.string()),
            "content_digest": pa.array([item.content_digest for item in items], pa.string()),
            "status": pa.array([item.status.value for item in items], pa.string()),
            "reason": pa.array([item.reason for item in items], pa.string()),
            "row": pa.array([None if item.offset is None else next(numbers) for item in items], pa.int64()),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
