"""What is sound of a damaged segment, and a new segment made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossan.cache_schema.canonical import pretty_bytes, sha256_hex
from crossan.cache_schema.errors import CrossanError, IncompatibleError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import (
    CRC_BYTES,
    STORED_DTYPES,
    ArrayLayout,
    chunk_item_count,
    group_metadata,
)
from crossan.cache_schema.manifest import SegmentEntry
from crossan.cache_schema.segment import (
    ARRAY_METADATA,
    GROUP_METADATA,
    Holding,
    SegmentRecord,
    new_segment_id,
)
from crossan.common.files import read_regular, replace_durably
from crossan.common.refusals import make_folder
from crossan.common.stores.chunk_file import ChunkFile
from crossan.common.stores.claims import Claim
from crossan.common.stores.item_index import NO_ROW, STATUSES
from crossan.common.stores.mapping import map_chunks
from crossan.common.stores.records import StagedItem
from crossan.common.stores.segment_writer import write_segment
from crossan.common.stores.segments import Segment, read_record, read_segment
from crossan.common.stores.soundness import find_flaws

__all__ = ["Wreck", "examine", "lost_items", "rescue"]


@dataclass(frozen=True, slots=True)
class Wreck:
    """What is known of a damaged segment, with the numbers of its damaged chunks."""

    entry: SegmentEntry
    record: SegmentRecord | None
    segment: Segment | None
    bad_chunks: frozenset[int]


def examine(
    path: Path, entry: SegmentEntry, identity: StoreIdentity, restored: list[str]
) -> Wreck | None:
    """Return what is wrong with a segment, None where it is sound or could be made so.

    Array metadata that is damaged is written anew, as it follows from the
    identity; files that do not belong there are moved to ``staging/``. What was
    mended is added to ``restored``.
    """
    folder = path / "segments" / entry.segment_id
    record = None
    try:
        record = read_record(lambda key: read_regular(path, key), entry, str(path))
        _mend_metadata(path, entry, record, identity, restored)
        segment = read_segment(path, entry, identity)
    except IncompatibleError:
        raise
    except CrossanError:
        return Wreck(entry, record, None, frozenset())
    _move_strangers(path, folder, record, restored)
    bad = frozenset(find_flaws(folder, record, segment.layout))
    return Wreck(entry, record, segment, bad) if bad else None


def rescue(path: Path, identity: StoreIdentity, wreck: Wreck) -> tuple[Claim, SegmentEntry]:
    """Write what is sound of a damaged segment as a new segment.

    It is published but not listed yet. It says what it was rescued from, so that the damaged one
    takes its place where a teammate has that whole. Therefore it is written even where nothing is
    sound.

    Returns
    -------
    tuple
        The claim to release once the segment is listed, and what to list.
    """
    segment, lost = (
        wreck.segment,
        wreck.record.holding.every if wreck.record else {wreck.entry.segment_id},
    )
    items = _sound_items(wreck, segment) if segment else []
    chunk_items = segment.layout.chunk_items if segment else 1
    # All chunks stay open: rows are asked for in the order of items, which is not that of chunks.
    chunks = {
        number: map_chunks([ChunkFile(segment.path, chunk, segment.layout)]).chunk(0)
        for number, chunk in enumerate(segment.record.chunks if segment else ())
        if segment and number not in wreck.bad_chunks
    }
    claim = Claim.take(path, "repair", new_segment_id())
    claim.build.rmdir()
    sha256 = write_segment(
        claim.build,
        claim.segment_id,
        identity,
        sorted(items, key=lambda item: item.item_id),
        lambda rows: np.stack([chunks[row // chunk_items][row % chunk_items] for row in rows]),
        {**(wreck.record.producer if wreck.record else {}), "rescued_from": wreck.entry.segment_id},
        Holding(
            frozenset({claim.segment_id}),
            frozenset(lost),
            wreck.record.stamp if wreck.record else 0,
        ),
    )
    claim.publish()
    return claim, SegmentEntry(claim.segment_id, sha256)


def lost_items(wreck: Wreck) -> list[str]:
    """Return the items whose rows lie in damaged chunks.

    None where the index is unreadable, as they are not known then.
    """
    if wreck.segment is None:
        return []
    items = wreck.segment.items
    chunk_of = items.rows // wreck.segment.layout.chunk_items
    is_lost = (items.rows != NO_ROW) & np.isin(chunk_of, sorted(wreck.bad_chunks))
    return [str(item_id) for item_id in items.item_ids[is_lost]]


def _sound_items(wreck: Wreck, segment: Segment) -> list[StagedItem]:
    items, lost = segment.items, set(lost_items(wreck))
    return [
        StagedItem(
            str(item_id), digest, STATUSES[code], reason, None if row == NO_ROW else row, stamp
        )
        for item_id, digest, code, reason, row, stamp in zip(
            items.item_ids,
            items.texts("content_digest"),
            items.statuses.tolist(),
            items.texts("reason"),
            items.rows.tolist(),
            items.stamps.tolist(),
            strict=True,
        )
        if str(item_id) not in lost
    ]


def _mend_metadata(
    path: Path,
    entry: SegmentEntry,
    record: SegmentRecord,
    identity: StoreIdentity,
    restored: list[str],
) -> None:
    row_bytes = (
        len(identity.layers) * identity.dim * STORED_DTYPES[identity.stored_dtype].byte_count
    )
    layout = ArrayLayout(
        item_count=record.row_count,
        chunk_items=_chunk_items(record, identity, row_bytes),
        layer_count=len(identity.layers),
        dim=identity.dim,
        stored_dtype=identity.stored_dtype,
        codec=identity.codec,
    )
    for name, content in ((GROUP_METADATA, group_metadata()), (ARRAY_METADATA, layout.to_zarr())):
        data, file = pretty_bytes(content), path / "segments" / entry.segment_id / name
        is_sound = (
            file.is_file()
            and not file.is_symlink()
            and sha256_hex(file.read_bytes()) == record.file(name).sha256
        )
        if not is_sound and sha256_hex(data) == record.file(name).sha256 and not file.is_dir():
            make_folder(file.parent)
            replace_durably(file, data)
            restored.append(str(file))


def _chunk_items(record: SegmentRecord, identity: StoreIdentity, row_bytes: int) -> int:
    # What was written says more than what would be written today.
    if identity.codec == "raw" and record.chunks:
        return max(1, (record.chunks[0].size - CRC_BYTES) // row_bytes)
    return chunk_item_count(row_bytes, record.row_count)


def _move_strangers(path: Path, folder: Path, record: SegmentRecord, restored: list[str]) -> None:
    listed = {entry.path for entry in record.files} | {"segment.json"}
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder).as_posix()
        if (file.is_symlink() or not file.is_dir()) and relative not in listed:
            file.replace(
                path / "staging" / f"stranger-{record.segment_id}-{relative.replace('/', '-')}"
            )
            restored.append(str(file))
