"""Many small segments into one, without changing what the store holds."""

from __future__ import annotations

from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np

from crossan.cache_schema.errors import BusyError, StoreIntegrityError
from crossan.cache_schema.manifest import Manifest, SegmentEntry
from crossan.cache_schema.modality import ItemStatus
from crossan.cache_schema.segment import new_segment_id
from crossan.common.stores.claims import Claim
from crossan.common.stores.folders import read_identity
from crossan.common.stores.provenance import gathered_producers
from crossan.common.stores.reader import FeatureStore
from crossan.common.stores.records import StagedItem
from crossan.common.stores.segment_writer import write_segment
from crossan.common.stores.segments import read_segment
from crossan.common.stores.versions import Content, commit, read_version

__all__ = ["compact"]


def compact(path: Path, version_of_crossan: str) -> Manifest | None:
    """Write the content of a store's newest version as one segment, and make that the next version.

    What their producers record, licences and datasets among it, is listed in the new
    one. Segments appended meanwhile stay after it. The old segments stay in the
    folder for older versions, until a garbage collection. Each item's row keeps
    the stamp it was written with, so that it neither hides nor is hidden by what
    teammates have written meanwhile.

    Parameters
    ----------
    path
        Folder of the store.
    version_of_crossan
        Recorded as provenance.

    Returns
    -------
    Manifest or None
        The version made; None where there is nothing to gather.

    Raises
    ------
    BusyError
        Another process has rearranged the same segments meanwhile.
    """
    manifest = read_version(path)
    if len(manifest.segments) <= 1:
        return None
    try:
        claim, gathered = _write(path, manifest, version_of_crossan)
    except StoreIntegrityError as error:
        if set(manifest.segments) <= set(read_version(path).segments):
            raise
        raise _rearranged(path, manifest) from error
    version = commit(path, lambda newest: _replaced(newest, manifest, gathered))
    if version is None:
        claim.discard()
        raise _rearranged(path, manifest)
    claim.release()
    return version


def _write(path: Path, manifest: Manifest, version_of_crossan: str) -> tuple[Claim, SegmentEntry]:
    identity = read_identity(path)
    store = FeatureStore(
        path,
        identity,
        manifest,
        [read_segment(path, entry, identity) for entry in manifest.segments],
    )
    claim = Claim.take(path, "compact", new_segment_id())
    claim.build.rmdir()
    sha256 = write_segment(
        claim.build,
        claim.segment_id,
        identity,
        _items(store),
        lambda rows: store.read_stored(np.array(rows, dtype=np.int64)),
        {
            **gathered_producers(store.records),
            "crossan": version_of_crossan,
            "compacted": len(manifest.segments),
            "of_version": manifest.version,
        },
        reduce(or_, (record.holding for record in store.records)),
    )
    claim.publish()
    return claim, SegmentEntry(claim.segment_id, sha256)


def _rearranged(path: Path, manifest: Manifest) -> BusyError:
    return BusyError(
        f"{path}: expected the {len(manifest.segments)} segments of version {manifest.version} "
        "in the newest version, found them rearranged by another process",
        remedy=f"Run: crossan cache compact {path}",
    )


def _items(store: FeatureStore) -> list[StagedItem]:
    stamps, deleted_stamps = store.stamps
    # Tombstones stay: a teammate's store may still hold what they hide.
    items = [
        StagedItem(str(item_id), None, ItemStatus.DELETED, None, None, stamp)
        for item_id, stamp in zip(store.deleted_ids, deleted_stamps.tolist(), strict=True)
    ]
    items += [
        StagedItem(
            str(item_id),
            digest,
            ItemStatus(str(status)),
            reason,
            row if is_present else None,
            stamp,
        )
        for row, (item_id, digest, status, reason, is_present, stamp) in enumerate(
            zip(
                store.item_ids,
                store.content_digests,
                store.status,
                store.reasons,
                store.presence,
                stamps.tolist(),
                strict=True,
            )
        )
    ]
    return sorted(items, key=lambda item: item.item_id)


def _replaced(newest: Manifest | None, old: Manifest, gathered: SegmentEntry) -> Content | None:
    # What others appended meanwhile comes after; anything else was rearranged under our hands.
    count = len(old.segments)
    if newest is None or newest.segments[:count] != old.segments:
        return None
    return Content((gathered, *newest.segments[count:]), newest.dropped)
