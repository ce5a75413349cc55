"""A segment written whole, its array through zarr-python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from crossan.cache_schema.canonical import pretty_bytes, sha256_hex
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import (
    ARRAY_NAME,
    STORED_DTYPES,
    ArrayLayout,
    chunk_item_count,
)
from crossan.cache_schema.segment import ITEM_INDEX, FileEntry, Holding, SegmentRecord
from crossan.common.files import fsync_folder, write_durably
from crossan.common.refusals import blaming
from crossan.common.stores.item_index import index_bytes
from crossan.common.stores.records import StagedItem
from crossan.common.stores.soundness import require_finite
from crossan.common.stores.values import bits_dtype, fill_rows

if TYPE_CHECKING:
    import zarr

    from crossan.common.stores.segment_store import SegmentStore

__all__ = ["ReadRows", "write_array", "write_segment"]

ReadRows = Callable[[Sequence[int]], npt.NDArray[Any]]
"""From offsets to rows, ``(item, layer, dim)`` in the stored dtype."""


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
        Of which written segments it holds the content, itself where that is written now, and the
        newest stamp.

    Returns
    -------
    str
        SHA-256 of ``segment.json``.

    Raises
    ------
    StoreIntegrityError
        A row holds NaN or infinity.
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
    with blaming(folder):
        folder.mkdir()
    offsets = [item.offset for item in with_rows if item.offset is not None]

    def read_finite(some: Sequence[int]) -> npt.NDArray[Any]:
        rows = read_rows(some)
        require_finite(rows, identity.stored_dtype, str(folder))
        return rows

    group, array, *chunks = write_array(folder, layout, offsets, read_finite)
    index = index_bytes(items)
    write_durably(folder / ITEM_INDEX, index)
    record = SegmentRecord(
        segment_id=segment_id,
        fingerprint=identity.fingerprint,
        item_count=len(items),
        row_count=len(with_rows),
        files=(group, array, FileEntry(ITEM_INDEX, len(index), sha256_hex(index)), *chunks),
        producer=producer,
        replaces=tuple(sorted(holding.whole - {segment_id})),
        rescued=tuple(sorted(holding.part)),
        stamp=holding.stamp,
    )
    data = pretty_bytes(record.to_dict())
    write_durably(folder / "segment.json", data)
    # A file's own fsync does not keep its name: that lies in its folder.
    for inner in sorted(path for path in folder.rglob("*") if path.is_dir()):
        fsync_folder(inner)
    fsync_folder(folder)
    return sha256_hex(data)


def write_array(
    folder: Path, layout: ArrayLayout, offsets: Sequence[int], read_rows: ReadRows
) -> list[FileEntry]:
    """Write a segment's group and array, and wait until the files are on the disk.

    Parameters
    ----------
    folder
        Of the segment; must be there.
    layout
        Of the array.
    offsets
        ``(layout.item_count,)``, of each row in order.
    read_rows
        From some of the offsets to their rows.

    Returns
    -------
    list of FileEntry
        The group's metadata, the array's, and the chunks in order.

    Raises
    ------
    ResourceError
        The disk is full.
    StoreIntegrityError
        zarr wrote something else than the layout says.
    """
    # Importing zarr takes longer than most reads of a store, and only writers need it.
    from crossan.common.stores.segment_store import SegmentStore

    with SegmentStore(folder, layout) as store:
        array = _create_array(store, layout)
        # One whole chunk at a time: zarr neither reads one back nor holds more than one.
        for start in range(0, layout.item_count, layout.chunk_items):
            rows = read_rows(offsets[start : start + layout.chunk_items])
            store.wait_for_room()
            array[start : start + len(rows)] = rows
        return store.finish()


def _create_array(store: SegmentStore, layout: ArrayLayout) -> zarr.Array[Any]:
    import zarr

    metadata = layout.to_zarr()
    return zarr.create_group(store, zarr_format=3).create_array(
        ARRAY_NAME,
        shape=tuple(metadata["shape"]),
        chunks=tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"]),
        dtype=bits_dtype(layout.stored_dtype),
        fill_value=fill_rows((1,), layout.stored_dtype)[0],
        serializer=metadata["codecs"][0],
        compressors=metadata["codecs"][1:],
        filters=None,
        dimension_names=metadata["dimension_names"],
        attributes=metadata["attributes"],
        # By default zarr leaves out a chunk that is all NaN.
        config={"order": "C", "write_empty_chunks": True},
    )
