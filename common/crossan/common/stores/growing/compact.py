"""Many small segments into one, without changing what the store holds."""

from __future__ import annotations

from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np

from crossan.cache_schema.errors import BusyError
from crossan.cache_schema.manifest import Manifest, SegmentEntry
from crossan.cache_schema.modality import ItemStatus
from crossan.cache_schema.segment import new_segment_id
from crossan.common.stores.claims import Claim
from crossan.common.stores.reader import FeatureStore, open_store
from crossan.common.stores.records import StagedItem
from crossan.common.stores.segments import write_segment
from crossan.common.stores.versions import Content, commit, read_version

__all__ = ["compact"]


def compact(path: Path, version_of_crossan: str) -> Manifest | None:
    """Write the content of a store's newest version as one segment, and make that the next version.

    Segments appended meanwhile stay after it. The old segments stay in the
    folder for older versions, until a garbage collection.

    Parameters
    ----------
    path
        Folder of the store.
    version_of_crossan
        Recorded as provenance.

    Returns
    -------
    Manifest or None
        The version made; None where there is at most one segment already.

    Raises
    ------
    BusyError
        Another process has rearranged the same segments meanwhile.
    """
    manifest = read_version(path)
    if len(manifest.segments) < 2:
        return None
    store = open_store(path, manifest.version)
    claim = Claim.take(path, "compact", new_segment_id())
    claim.build.rmdir()
    sha256 = write_segment(
        claim.build,
        claim.segment_id,
        store.identity,
        _items(store),
        lambda rows: store.read_stored(np.array(rows, dtype=np.int64)),
        {"crossan": version_of_crossan, "compacted": len(manifest.segments), "of_version": manifest.version},
        reduce(or_, (record.holding for record in store.records)),
    )
    claim.publish()
    entry = SegmentEntry(claim.segment_id, sha256)
    made = commit(path, lambda newest: _replaced(newest, manifest, entry))
    claim.release()
    if made is None:
        raise BusyError(
            f"{path}: expected the {len(manifest.segments)} segments of version {manifest.version} in the newest "
            "version, found them rearranged by another process",
            remedy=f"Run: crossan cache compact {path}",
        )
    return made


def _items(store: FeatureStore) -> list[StagedItem]:
    # Tombstones stay: a teammate's store may still hold what they hide.
    items = [StagedItem(str(item_id), None, ItemStatus.DELETED, None, None) for item_id in store.deleted_ids]
    items += [
        StagedItem(str(item_id), digest, ItemStatus(str(status)), reason, row if is_present else None)
        for row, (item_id, digest, status, reason, is_present) in enumerate(
            zip(store.item_ids, store.content_digests, store.status, store.reasons, store.presence, strict=True)
        )
    ]
    return sorted(items, key=lambda item: item.item_id)


def _replaced(newest: Manifest | None, old: Manifest, entry: SegmentEntry) -> Content | None:
    count = len(old.segments)
    if newest is None or newest.segments[:count] != old.segments:
        return None
    return Content((entry, *newest.segments[count:]), newest.dropped)
