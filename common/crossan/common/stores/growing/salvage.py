"""Looking into a damaged segment: what of it is sound, and getting that out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossan.cache_schema.canonical import pretty_bytes, sha256_hex
from crossan.cache_schema.errors import CrossanError, StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import CRC_BYTES, STORED_DTYPES, ArrayLayout, chunk_item_count, group_metadata
from crossan.cache_schema.manifest import Manifest, SegmentEntry
from crossan.cache_schema.segment import ARRAY_METADATA, GROUP_METADATA, SegmentRecord
from crossan.common.stores.chunks import crc_tail
from crossan.common.stores.files import read_regular, replace_durably
from crossan.common.stores.gather import read_and_sum
from crossan.common.stores.index import NOWHERE, StoreIndex
from crossan.common.stores.item_index import STATUSES
from crossan.common.stores.journal import ItemRow, Journal
from crossan.common.stores.mapping import ChunkFile, map_chunks
from crossan.common.stores.segments import Segment, read_record, read_segment

__all__ = ["Wreck", "examine", "rescue"]

_ROWS_PER_RECORD = 256


@dataclass(frozen=True, slots=True)
class Wreck:
    """A damaged segment: its index where that is sound, and the numbers of its damaged chunks."""

    entry: SegmentEntry
    segment: Segment | None
    bad_chunks: frozenset[int]


def examine(path: Path, entry: SegmentEntry, identity: StoreIdentity, restored: list[str]) -> Wreck | None:
    """Return what is wrong with a segment, None where it is sound or could be made so.

    Array metadata that is damaged is written anew, as it follows from the
    identity; files that do not belong there are moved to ``staging/``. What was
    mended is added to ``restored``.
    """
    folder = path / "segments" / entry.segment_id
    try:
        record = read_record(lambda key: read_regular(path, key), entry, str(path))
        _mend_metadata(path, entry, record, identity, restored)
        segment = read_segment(path, entry, identity)
    except CrossanError:
        return Wreck(entry, None, frozenset())
    _move_strangers(path, folder, record, restored)
    bad = frozenset(
        number for number, chunk in enumerate(record.chunks) if not _is_sound(ChunkFile(folder, chunk, segment.layout))
    )
    return Wreck(entry, segment, bad) if bad else None


def rescue(path: Path, identity: StoreIdentity, newest: Manifest, wrecks: Sequence[Wreck]) -> tuple[int, list[str]]:
    """Publish the sound items of damaged segments as a segment of their own.

    Only items whose newest entry lies in a damaged segment are taken: the
    others are held elsewhere.

    Returns
    -------
    tuple
        How many items were rescued, and the ids of those whose rows are gone.
    """
    by_entry = {wreck.entry: wreck for wreck in wrecks}
    readable = [
        (by_entry.get(entry), by_entry[entry].segment if entry in by_entry else read_segment(path, entry, identity))
        for entry in newest.segments
    ]
    known = [(wreck, segment) for wreck, segment in readable if segment is not None]
    index = StoreIndex([segment for _, segment in known])
    first = np.cumsum([0, *(segment.layout.chunk_count for _, segment in known)])
    digests, reasons = index.texts("content_digest"), index.texts("reason")
    lost: list[str] = []
    rows: list[ItemRow] = []
    chunks = {n: map_chunks([_chunk_file(known[s][1], n - int(first[s]))]) for n, s in _sound_chunks(known, first)}
    for item, number in enumerate(index.segment_of.tolist()):
        wreck = known[number][0]
        if wreck is None:
            continue
        chunk = int(index.chunk_of[item])
        if chunk != NOWHERE and chunk - int(first[number]) in wreck.bad_chunks:
            lost.append(str(index.item_ids[item]))
            continue
        row = None if chunk == NOWHERE else chunks[chunk].chunk(0)[index.place_of[item]]
        status = STATUSES[index.statuses[item]]
        rows.append(ItemRow(str(index.item_ids[item]), digests[item], status, reasons[item], row))
    if rows:
        journal = Journal.open(path, "repair")
        try:
            for start in range(0, len(rows), _ROWS_PER_RECORD):
                journal.append(rows[start : start + _ROWS_PER_RECORD])
            journal.publish({"rescued_from": [wreck.entry.segment_id for wreck in wrecks]})
        finally:
            journal.close()
    return len(rows), lost


def _sound_chunks(known: list[tuple[Wreck | None, Segment]], first: np.ndarray) -> list[tuple[int, int]]:
    """Return (number over all segments, segment) of the sound chunks of the damaged segments."""
    return [
        (int(first[number]) + inner, number)
        for number, (wreck, segment) in enumerate(known)
        if wreck is not None
        for inner in range(segment.layout.chunk_count)
        if inner not in wreck.bad_chunks
    ]


def _chunk_file(segment: Segment, inner: int) -> ChunkFile:
    return ChunkFile(segment.path, segment.record.chunks[inner], segment.layout)


def _is_sound(chunk: ChunkFile) -> bool:
    try:
        descriptor = chunk.open()
    except StoreIntegrityError:
        return False
    try:
        byte_count = chunk.entry.size - CRC_BYTES
        crc = read_and_sum(descriptor, byte_count)
        return crc == chunk.entry.crc32c and os.pread(descriptor, CRC_BYTES, byte_count) == crc_tail(crc)
    finally:
        os.close(descriptor)


def _mend_metadata(
    path: Path, entry: SegmentEntry, record: SegmentRecord, identity: StoreIdentity, restored: list[str]
) -> None:
    row_bytes = len(identity.layers) * identity.dim * STORED_DTYPES[identity.stored_dtype].byte_count
    layout = ArrayLayout(
        item_count=record.row_count,
        chunk_items=chunk_item_count(row_bytes, record.row_count),
        layer_count=len(identity.layers),
        dim=identity.dim,
        stored_dtype=identity.stored_dtype,
        codec=identity.codec,
    )
    for name, content in ((GROUP_METADATA, group_metadata()), (ARRAY_METADATA, layout.to_zarr())):
        data, file = pretty_bytes(content), path / "segments" / entry.segment_id / name
        is_sound = (
            file.is_file() and not file.is_symlink() and sha256_hex(file.read_bytes()) == record.file(name).sha256
        )
        if not is_sound and sha256_hex(data) == record.file(name).sha256 and not file.is_dir():
            file.parent.mkdir(exist_ok=True)
            replace_durably(file, data)
            restored.append(str(file))


def _move_strangers(path: Path, folder: Path, record: SegmentRecord, restored: list[str]) -> None:
    listed = {entry.path for entry in record.files} | {"segment.json"}
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder).as_posix()
        if (file.is_symlink() or not file.is_dir()) and relative not in listed:
            file.replace(path / "staging" / f"stranger-{record.segment_id}-{relative.replace('/', '-')}")
            restored.append(str(file))
