"""One segment's files: written whole from staged items, read back against their digests."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.canonical import parse_object, pretty_bytes, sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import (
    STORED_DTYPES,
    ArrayLayout,
    chunk_item_count,
    chunk_path,
    group_metadata,
)
from crossan.cache_schema.manifest import SegmentEntry
from crossan.cache_schema.segment import (
    ARRAY_METADATA,
    GROUP_METADATA,
    ITEM_INDEX,
    FileEntry,
    Holding,
    SegmentRecord,
)
from crossan.common.files import (
    begin_write,
    finish_write,
    fsync_folder,
    read_regular,
    write_durably,
)
from crossan.common.stores.chunks import crc_tail, encode_chunk
from crossan.common.stores.item_index import SegmentItems, index_bytes, parse_items
from crossan.common.stores.records import StagedItem
from crossan.common.stores.values import fill_rows

__all__ = [
    "Read",
    "ReadRows",
    "Segment",
    "read_record",
    "read_segment",
    "write_segment",
]

Read = Callable[[str], bytes]
"""From a path inside a store to the bytes there."""
ReadRows = Callable[[Sequence[int]], npt.NDArray[Any]]
"""From offsets to rows, ``(item, layer, dim)`` in the stored dtype."""

_WRITERS = 8
"""Chunks in flight, up to 128 MiB: most of them wait for the disk."""


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
    read_rows: ReadRows,
    producer: Mapping[str, Any],
    holding: Holding,
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
    read_rows
        From the offsets of staged items to their rows, ``(item, layer, dim)`` in the stored dtype.
    producer
        Recorded as it is.
    holding
        Of which written segments it holds the content, itself where that is written now, and the newest stamp.

    Returns
    -------
    str
        SHA-256 of ``segment.json``.
    """
    with_rows = [item for item in items if item.offset is not None]
    row_bytes = (
        len(identity.layers) * identity.dim * STORED_DTYPES[identity.stored_dtype].byte_count
    )
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
        _write(folder, ITEM_INDEX, index_bytes(items)),
        *_write_chunks(
            folder,
            layout,
            [item.offset for item in with_rows if item.offset is not None],
            read_rows,
        ),
    ]
    record = SegmentRecord(
        segment_id=segment_id,
        fingerprint=identity.fingerprint,
        item_count=len(items),
        row_count=len(with_rows),
        files=tuple(files),
        producer=producer,
        replaces=tuple(sorted(holding.whole - {segment_id})),
        rescued=tuple(sorted(holding.part)),
        stamp=holding.stamp,
    )
    data = pretty_bytes(record.to_dict())
    write_durably(folder / "segment.json", data)
    for inner in sorted(path for path in folder.rglob("*") if path.is_dir()):
        fsync_folder(inner)
    fsync_folder(folder)
    return sha256_hex(data)


def read_record(read: Read, entry: SegmentEntry, where: str) -> SegmentRecord:
    """Read the ``segment.json`` of one segment of a version.

    Parameters
    ----------
    read
        From a path inside the store to the bytes there.
    entry
        Of the manifest.
    where
        The store's folder or address, for messages.

    Raises
    ------
    StoreIntegrityError
        It holds other bytes than the manifest records.
    """
    path = f"segments/{entry.segment_id}/segment.json"
    data = read(path)
    if sha256_hex(data) != entry.sha256:
        raise StoreIntegrityError(
            f"{where}/{path}: expected SHA-256 {entry.sha256}, found {sha256_hex(data)}"
        )
    record = SegmentRecord.from_dict(parse_object(data, f"{where}/{path}"), f"{where}/{path}")
    if record.segment_id != entry.segment_id:
        raise StoreIntegrityError(
            f"{where}/{path}: expected segment {entry.segment_id}, found {record.segment_id}"
        )
    return record


def read_segment(
    store: Path, entry: SegmentEntry, identity: StoreIdentity, read: Read | None = None
) -> Segment:
    """Open one segment: every file but the chunks is read and checked against its SHA-256.

    Parameters
    ----------
    store
        Folder of the store.
    entry
        Of the manifest.
    identity
        Of the store.
    read
        From a path inside the store to the bytes there; None reads the folder.

    Raises
    ------
    StoreIntegrityError
        A file is not there or holds other bytes than recorded. Names the file.
    """
    read = partial(read_regular, store) if read is None else read
    record = read_record(read, entry, str(store))
    path = store / "segments" / entry.segment_id
    if record.fingerprint != identity.fingerprint:
        raise StoreIntegrityError(
            f"{path / 'segment.json'}: expected the fingerprint {identity.fingerprint}, found {record.fingerprint}"
        )
    contents = {}
    for name in (GROUP_METADATA, ARRAY_METADATA, ITEM_INDEX):
        contents[name] = read(f"segments/{entry.segment_id}/{name}")
        if sha256_hex(contents[name]) != record.file(name).sha256:
            found = sha256_hex(contents[name])
            raise StoreIntegrityError(
                f"{path / name}: expected SHA-256 {record.file(name).sha256}, found {found}"
            )
    group_where, array_where = str(path / GROUP_METADATA), str(path / ARRAY_METADATA)
    if parse_object(contents[GROUP_METADATA], group_where) != group_metadata():
        raise StoreIntegrityError(
            f"{group_where}: expected a Zarr v3 group without attributes, found something else"
        )
    layout = ArrayLayout.from_zarr(parse_object(contents[ARRAY_METADATA], array_where), array_where)
    _check_layout(layout, record, identity, array_where)
    return Segment(
        path, record, layout, parse_items(contents[ITEM_INDEX], record, str(path / ITEM_INDEX))
    )


def _check_layout(
    layout: ArrayLayout, record: SegmentRecord, identity: StoreIdentity, where: str
) -> None:
    # The codec may be another than the identity's: segments of two stores of one fingerprint can be merged.
    found = (
        layout.item_count,
        layout.layer_count,
        layout.dim,
        layout.stored_dtype,
        layout.chunk_count,
    )
    rows = record.row_count
    expected = (rows, len(identity.layers), identity.dim, identity.stored_dtype, len(record.chunks))
    if found != expected:
        raise StoreIntegrityError(
            f"{where}: expected items, layers, dim, dtype and chunks {expected}, found {found}"
        )


def _write(folder: Path, relative: str, data: bytes) -> FileEntry:
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, data)
    return FileEntry(relative, len(data), sha256_hex(data))


def _write_chunks(
    folder: Path, layout: ArrayLayout, offsets: Sequence[int], read_rows: ReadRows
) -> list[FileEntry]:
    """Write the chunks in order; while one is read, others are hashed and wait for the disk."""
    entries: list[FileEntry] = []
    waiting: deque[tuple[str, int, int, Future[None], Future[str]]] = deque()

    def settle() -> None:
        path, size, crc, synced, hashed = waiting.popleft()
        synced.result()
        entries.append(FileEntry(path, size, hashed.result(), crc))

    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="crossan-write") as pool:
        for number in range(layout.chunk_count):
            rows = read_rows(
                offsets[number * layout.chunk_items : (number + 1) * layout.chunk_items]
            )
            payload, crc = encode_chunk(_padded(rows, layout), layout)
            tail, path = crc_tail(crc), folder / chunk_path(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            synced = pool.submit(finish_write, path, begin_write(path, payload, tail))
            hashed = pool.submit(_sha256_of, payload, tail)
            waiting.append((chunk_path(number), len(payload) + len(tail), crc, synced, hashed))
            if len(waiting) == _WRITERS:
                settle()
        while waiting:
            settle()
    return entries


def _padded(rows: npt.NDArray[Any], layout: ArrayLayout) -> npt.NDArray[Any]:
    if len(rows) == layout.chunk_items:
        return rows
    padding = (layout.chunk_items - len(rows), layout.layer_count, layout.dim)
    return np.concatenate([rows, fill_rows(padding, layout.stored_dtype)])


def _sha256_of(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
