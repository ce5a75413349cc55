"""Stores and datasets of any size that take next to no disk: the index is whole, the rows are holes, zeros when read.

The checksums are those of the zeros, so everything a reader checks holds.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa

from crossan.cache_schema.canonical import pretty_bytes, sha256_hex
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import ArrayLayout, chunk_item_count, chunk_path, group_metadata
from crossan.cache_schema.manifest import SegmentEntry
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.cache_schema.segment import (
    ARRAY_METADATA,
    GROUP_METADATA,
    ITEM_INDEX,
    FileEntry,
    SegmentRecord,
)
from crossan.common.datasets import write_dataset
from crossan.common.stores import create_store, store_folder
from crossan.common.stores.checksums import crc32c
from crossan.common.stores.item_index import index_bytes
from crossan.common.stores.records import StagedItem
from crossan.common.stores.versions import Content, commit

PER_USER = 13


def item_id(number: int) -> str:
    """Return the id of an item; they sort as their numbers."""
    return f"v{number:07d}"


def segment_id(number: int) -> str:
    """Return the id of a segment."""
    return f"20261124T{number:06d}-0123456789abcdef"


def make_identity(modality: Modality, layers: int, dim: int) -> StoreIdentity:
    """Return the recipe of a store of zeros."""
    return StoreIdentity(
        modality=modality,
        backbone={"id": "sparse"},
        inputs={},
        capture={"layers": list(range(layers))},
        dim=dim,
    )


def write_sparse_store(
    store: Path, identity: StoreIdentity, item_count: int, per_segment: int | None = None
) -> None:
    """Write a store of zeros for items 0 to ``item_count``, in segments of so many items; None for one segment."""
    create_store(store, identity, np.zeros((4, len(identity.layers), identity.dim), np.float32))
    size = per_segment or item_count
    entries = [
        _write_segment(
            store, segment_id(number), identity, range(start, min(start + size, item_count))
        )
        for number, start in enumerate(range(0, item_count, size))
    ]
    commit(store, lambda _: Content(tuple(entries)))


def _digest(title: str) -> str:
    return hashlib.sha256(title.encode()).hexdigest()


def _write_segment(store: Path, name: str, identity: StoreIdentity, numbers: range) -> SegmentEntry:
    row_bytes = len(identity.layers) * identity.dim * 2
    layout = ArrayLayout(
        item_count=len(numbers), chunk_items=chunk_item_count(row_bytes, len(numbers)),
        layer_count=len(identity.layers), dim=identity.dim, stored_dtype="float16", codec="raw",
    )  # fmt: skip
    is_text = identity.modality is Modality.TEXT
    items = [
        # The ids are the titles of the dataset; other media it has none of to compare.
        StagedItem(item_id(n), _digest(item_id(n)) if is_text else None, ItemStatus.OK, None, place)
        for place, n in enumerate(numbers)
    ]
    contents = {
        GROUP_METADATA: pretty_bytes(group_metadata()),
        ARRAY_METADATA: pretty_bytes(layout.to_zarr()),
        ITEM_INDEX: index_bytes(items),
    }
    folder, files = store / "segments" / name, []
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        files.append(FileEntry(path, len(data), sha256_hex(data), None))
    zeros = bytes(layout.chunk_bytes)
    crc = crc32c(zeros)
    tail = struct.pack("<I", crc)
    digest = sha256_hex(zeros + tail)
    for number in range(layout.chunk_count):
        path = folder / chunk_path(number)
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            os.truncate(path, layout.chunk_bytes)
            file.seek(layout.chunk_bytes)
            file.write(tail)
        files.append(FileEntry(chunk_path(number), layout.chunk_bytes + len(tail), digest, crc))
    record = SegmentRecord(
        segment_id=name, fingerprint=identity.fingerprint, item_count=len(items), row_count=len(items),
        files=tuple(files),
    )  # fmt: skip
    data = pretty_bytes(record.to_dict())
    (folder / "segment.json").write_bytes(data)
    return SegmentEntry(name, sha256_hex(data))


def write_sparse_place(
    folder: Path,
    item_count: int,
    users: int,
    modalities: int,
    layers: int,
    dim: int,
    per_segment: int = 16_384,
) -> None:
    """Write a dataset ``d`` in which every item occurs, and a cache ``c`` of zeros for it."""
    assert users * PER_USER >= item_count
    numbers = np.arange(users * PER_USER) % item_count
    np.random.default_rng(0).shuffle(numbers)
    ids = pa.array([item_id(n) for n in range(item_count)])
    nothing = pa.nulls(item_count, pa.string())
    write_dataset(
        folder / "d", name="sparse", source_format="test", licence="none",
        interactions=pa.table(
            {
                "user_id": [f"u{n // PER_USER:06d}" for n in range(len(numbers))],
                "item_id": ids.take(pa.array(numbers)),
                "timestamp": np.arange(len(numbers)) % PER_USER,
            }
        ),
        items=pa.table({"item_id": ids, "title": ids, "image": nothing, "video": nothing, "audio": nothing}),
    )  # fmt: skip
    for modality in tuple(Modality)[:modalities]:
        identity = make_identity(modality, layers, dim)
        write_sparse_store(
            store_folder(folder / "c", "sparse", identity), identity, item_count, per_segment
        )
