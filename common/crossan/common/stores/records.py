"""Journal records, each a batch as one checksummed run of bytes."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.canonical import canonical_bytes, parse_object
from crossan.cache_schema.item_id import id_fault
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores.checksums import crc32c

__all__ = ["ItemRow", "StagedItem", "check_item", "encode_record", "read_records"]

_MAGIC = b"CRSJ"
_HEADER = struct.Struct("<4sIQ")  # magic, bytes of the index, bytes of the rows
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class ItemRow:
    """What was found out about one item.

    ``row`` is ``(layer, dim)`` in the stored dtype (uint16 for bfloat16), and
    there exactly when the status is ``ok``.
    """

    item_id: str
    content_digest: str | None
    status: ItemStatus
    reason: str | None = None
    row: npt.NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class StagedItem:
    """An item to be written, as `ItemRow`, with its row as an offset.

    The offset is into what the rows are read from, such as the journal's file, and None where the
    item has no row.
    """

    item_id: str
    content_digest: str | None
    status: ItemStatus
    reason: str | None
    offset: int | None
    stamp: int | None = None
    """When it was written, where a segment gathers what others have written; None for now."""


def check_item(item: ItemRow, row_shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    """Refuse an item that no store of these rows can hold.

    Raises
    ------
    ValueError
        An id that is none (`id_fault`), a row of another shape or dtype, a row without status ok
        or status ok without one.
    """
    fault = id_fault(item.item_id, "an item id")
    if fault is not None:
        raise ValueError(fault)
    if (item.row is not None) != (item.status is ItemStatus.OK):
        raise ValueError(
            f"item {item.item_id!r}: expected a row exactly when the status is ok, "
            f"found {item.status}"
        )
    if item.row is not None and (item.row.shape != row_shape or item.row.dtype != dtype):
        raise ValueError(
            f"item {item.item_id!r}: expected a row {row_shape} of {dtype}, "
            f"found {item.row.shape} of {item.row.dtype}"
        )


def encode_record(batch: Sequence[ItemRow], start: int) -> tuple[bytes, list[StagedItem]]:
    """Return the bytes of one record, and where its rows lie once it is written at ``start``."""
    index = canonical_bytes(
        [
            [
                item.item_id,
                item.content_digest,
                item.status.value,
                item.reason,
                item.row is not None,
            ]
            for item in batch
        ]
    )
    rows = [item.row.tobytes() for item in batch if item.row is not None]
    body = _HEADER.pack(_MAGIC, len(index), sum(map(len, rows))) + index + b"".join(rows)
    row_bytes = len(rows[0]) if rows else 0
    fields = [
        (item.item_id, item.content_digest, item.status, item.reason, item.row is not None)
        for item in batch
    ]
    return body + _CRC.pack(crc32c(body)), list(
        _staged(fields, start + _HEADER.size + len(index), row_bytes)
    )


def read_records(descriptor: int, row_bytes: int) -> Iterator[tuple[list[StagedItem], int]]:
    """Yield the items of each whole record and the offset of its end.

    The first torn record ends it: a process died there, and nothing comes after.

    Parameters
    ----------
    descriptor
        Of the journal's file, open for reading.
    row_bytes
        Bytes of one item's row.
    """
    start, size = 0, os.fstat(descriptor).st_size
    while start + _HEADER.size + _CRC.size <= size:
        magic, index_bytes, rows_bytes = _HEADER.unpack(os.pread(descriptor, _HEADER.size, start))
        body_bytes = _HEADER.size + index_bytes + rows_bytes
        if magic != _MAGIC or start + body_bytes + _CRC.size > size:
            return
        record = os.pread(descriptor, body_bytes + _CRC.size, start)
        if _CRC.unpack(record[body_bytes:])[0] != crc32c(record[:body_bytes]):
            return
        index = record[_HEADER.size : _HEADER.size + index_bytes]
        fields = parse_object(b'{"items":' + index + b"}", "journal record")["items"]
        first_row = start + _HEADER.size + index_bytes
        items = [
            (key, digest, ItemStatus(status), reason, has)
            for key, digest, status, reason, has in fields
        ]
        start += body_bytes + _CRC.size
        yield list(_staged(items, first_row, row_bytes)), start


def _staged(
    items: Sequence[tuple[str, str | None, ItemStatus, str | None, bool]],
    offset: int,
    row_bytes: int,
) -> Iterator[StagedItem]:
    for item_id, content_digest, status, reason, has_row in items:
        yield StagedItem(item_id, content_digest, status, reason, offset if has_row else None)
        offset += row_bytes if has_row else 0
