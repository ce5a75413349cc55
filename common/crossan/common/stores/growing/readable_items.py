"""What a damaged store still says of its items, before anything of it is mended."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from crossan.cache_schema.canonical import sha256_hex
from crossan.cache_schema.errors import CrossanError
from crossan.cache_schema.manifest import SegmentEntry
from crossan.cache_schema.modality import ItemStatus
from crossan.cache_schema.segment import is_segment_id
from crossan.common.files import read_regular
from crossan.common.stores.item_index import STATUSES, SegmentItems, parse_items
from crossan.common.stores.segments import read_index, read_record
from crossan.common.stores.versions import list_versions, read_manifest

__all__ = ["readable_items"]


def readable_items(store: Path) -> dict[str, tuple[str | None, ItemStatus]]:
    """Return content digest and status of each item of which a segment can still tell.

    Every segment is read that has a sound ``segment.json`` and item index, listed or
    not and whatever its other files are. Of several entries of an item the newest
    counts, as in a version. Deleted items are left out.

    Parameters
    ----------
    store
        Folder of the store, in any state.
    """
    newest: dict[str, tuple[int, str | None, ItemStatus]] = {}
    for segment_id in _in_order(store):
        items = _items_of(store, segment_id)
        if items is None:
            continue
        digests = items.texts("content_digest")
        stamps, codes = items.stamps.tolist(), items.statuses.tolist()
        for item_id, digest, code, stamp in zip(
            items.item_ids.tolist(), digests, codes, stamps, strict=True
        ):
            if item_id not in newest or newest[item_id][0] <= stamp:
                newest[item_id] = (stamp, digest, STATUSES[code])
    return {
        item_id: (digest, status)
        for item_id, (_, digest, status) in newest.items()
        if status is not ItemStatus.DELETED
    }


def _in_order(store: Path) -> list[str]:
    """Return the ids of the segments, those that no manifest lists first, the newest last."""
    folder = store / "segments"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    listed: list[str] = []
    for version in reversed(list_versions(store)):
        try:
            listed = [entry.segment_id for entry in read_manifest(store, version).segments]
        except CrossanError:
            continue
        break
    unlisted = [name for name in names if is_segment_id(name) and name not in listed]
    return [*unlisted, *(name for name in listed if name in names)]


def _items_of(store: Path, segment_id: str) -> SegmentItems | None:
    read = partial(read_regular, store)
    where = f"segments/{segment_id}"
    try:
        # Its manifest may be lost, so the file is taken at its word: the index has to fit it.
        entry = SegmentEntry(segment_id, sha256_hex(read(f"{where}/segment.json")))
        record = read_record(read, entry, str(store))
        return parse_items(read_index(read, record, str(store)), record, f"{store}/{where}")
    except (CrossanError, OSError):
        return None
