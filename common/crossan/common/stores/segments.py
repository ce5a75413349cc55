"""A segment opened for reading, its files compared with their digests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from crossan.cache_schema.canonical import parse_object, sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import (
    ArrayLayout,
    group_metadata,
)
from crossan.cache_schema.manifest import SegmentEntry
from crossan.cache_schema.segment import (
    ARRAY_METADATA,
    GROUP_METADATA,
    ITEM_INDEX,
    SegmentRecord,
)
from crossan.common.files import LARGEST_METADATA, read_regular
from crossan.common.stores.item_index import SegmentItems, parse_items

__all__ = [
    "Read",
    "Segment",
    "check_layout",
    "read_index",
    "read_record",
    "read_segment",
]

_LARGEST_INDEX = 2 * 2**30
"""Bytes of an item index at most: Parquet of thirty million items."""


class Read(Protocol):
    """From a path inside a store to the bytes there."""

    def __call__(self, key: str, largest: int = ..., /) -> bytes:
        """Return the bytes, and raise `StoreIntegrityError` where there are more."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment opened for reading.

    Its metadata was checked, its chunks were not.
    """

    path: Path
    record: SegmentRecord
    layout: ArrayLayout
    items: SegmentItems


def read_record(read: Callable[[str], bytes], entry: SegmentEntry, where: str) -> SegmentRecord:
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


def read_index(read: Read, record: SegmentRecord, where: str) -> bytes:
    """Read the item index of one segment.

    Parameters
    ----------
    read
        From a path inside the store to the bytes there.
    record
        The content of the segment's ``segment.json``.
    where
        The store's folder or address, for messages.

    Raises
    ------
    StoreIntegrityError
        It holds other bytes than the record says.
    """
    return _read_metadata(read, record, ITEM_INDEX, where)


def _read_metadata(read: Read, record: SegmentRecord, name: str, where: str) -> bytes:
    entry, path = record.file(name), f"segments/{record.segment_id}/{name}"
    largest = _LARGEST_INDEX if name == ITEM_INDEX else LARGEST_METADATA
    data = read(path, min(entry.size, largest))
    if sha256_hex(data) != entry.sha256:
        raise StoreIntegrityError(
            f"{where}/{path}: expected SHA-256 {entry.sha256}, found {sha256_hex(data)}"
        )
    return data


def read_segment(
    store: Path, entry: SegmentEntry, identity: StoreIdentity, read: Read | None = None
) -> Segment:
    """Open one segment.

    Every file but the chunks is read, and compared with its SHA-256.

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
            f"{path / 'segment.json'}: expected the fingerprint {identity.fingerprint}, "
            f"found {record.fingerprint}"
        )
    contents = {
        name: _read_metadata(read, record, name, str(store))
        for name in (GROUP_METADATA, ARRAY_METADATA, ITEM_INDEX)
    }
    # The allow-list comes first: nothing but our own code has seen this metadata yet.
    group_where, array_where = str(path / GROUP_METADATA), str(path / ARRAY_METADATA)
    if parse_object(contents[GROUP_METADATA], group_where) != group_metadata():
        raise StoreIntegrityError(
            f"{group_where}: expected a Zarr v3 group without attributes, found something else"
        )
    layout = ArrayLayout.from_zarr(parse_object(contents[ARRAY_METADATA], array_where), array_where)
    check_layout(layout, record, identity, array_where)
    return Segment(
        path, record, layout, parse_items(contents[ITEM_INDEX], record, str(path / ITEM_INDEX))
    )


def check_layout(
    layout: ArrayLayout, record: SegmentRecord, identity: StoreIdentity, where: str
) -> None:
    """Compare an array's layout with what its segment and store record.

    Raises
    ------
    StoreIntegrityError
        Another number of rows, layers, values or chunks, or another dtype.
    """
    # The codec may be another than the identity's: stores of one fingerprint can be merged.
    claimed = (
        layout.item_count,
        layout.layer_count,
        layout.dim,
        layout.stored_dtype,
        layout.chunk_count,
    )
    rows = record.row_count
    expected = (rows, len(identity.layers), identity.dim, identity.stored_dtype, len(record.chunks))
    if claimed != expected:
        raise StoreIntegrityError(
            f"{where}: expected items, layers, dim, dtype and chunks {expected}, found {claimed}"
        )
