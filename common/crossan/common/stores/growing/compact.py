"""Many small segments into one, without changing what the store holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from itertools import chain
from operator import or_
from pathlib import Path

import numpy as np

from crossan.cache_schema.errors import BusyError, StoreIntegrityError
from crossan.cache_schema.manifest import Manifest, SegmentEntry
from crossan.cache_schema.modality import ItemStatus
from crossan.cache_schema.segment import SegmentRecord, new_segment_id
from crossan.common.stores.claims import Claim
from crossan.common.stores.files import read_regular
from crossan.common.stores.folders import read_identity
from crossan.common.stores.reader import FeatureStore
from crossan.common.stores.records import StagedItem
from crossan.common.stores.segments import read_record, read_segment, write_segment
from crossan.common.stores.versions import Content, commit, read_version

__all__ = ["compact"]


def compact(path: Path, version_of_crossan: str) -> Manifest | None:
    """Write the content of a store's newest version as one segment, and make that the next version.

    Segments appended meanwhile stay after it. The old segments stay in the
    folder for older versions, until a garbage collection. What was rescued of a
    damaged segment stays apart while the whole one is not there: a teammate who
    has it brings it back to its place, between what came before and after.

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
    try:
        records = {entry: read_record(partial(read_regular, path), entry, str(path)) for entry in manifest.segments}
        runs = _runs(records)
        written = {run[0]: _write(path, manifest, run, version_of_crossan) for run in runs if len(run) > 1}
    except StoreIntegrityError as error:
        if set(manifest.segments) <= set(read_version(path).segments):
            raise
        raise _rearranged(path, manifest) from error
    if not written:
        return None
    gathered = [(written[run[0]][1],) if run[0] in written else run for run in runs]
    made = commit(path, lambda newest: _replaced(newest, manifest, tuple(chain.from_iterable(gathered))))
    for claim, _ in written.values():
        claim.release()
    if made is None:
        raise _rearranged(path, manifest)
    return made


def _runs(records: Mapping[SegmentEntry, SegmentRecord]) -> list[tuple[SegmentEntry, ...]]:
    """Part the segments of a version at those of which a whole is missing."""
    runs: list[tuple[SegmentEntry, ...]] = [()]
    whole: set[str] = set()
    for entry, record in records.items():
        if record.holding.part <= whole:
            runs[-1] = (*runs[-1], entry)
        else:
            runs += [(entry,), ()]
        whole |= record.holding.whole
    return [run for run in runs if run]


def _write(
    path: Path, manifest: Manifest, run: Sequence[SegmentEntry], version_of_crossan: str
) -> tuple[Claim, SegmentEntry]:
    identity = read_identity(path)
    store = FeatureStore(path, identity, manifest, [read_segment(path, entry, identity) for entry in run])
    claim = Claim.take(path, "compact", new_segment_id())
    claim.build.rmdir()
    sha256 = write_segment(
        claim.build,
        claim.segment_id,
        identity,
        _items(store),
        lambda rows: store.read_stored(np.array(rows, dtype=np.int64)),
        {"crossan": version_of_crossan, "compacted": len(run), "of_version": manifest.version},
        reduce(or_, (record.holding for record in store.records)),
    )
    claim.publish()
    return claim, SegmentEntry(claim.segment_id, sha256)


def _rearranged(path: Path, manifest: Manifest) -> BusyError:
    return BusyError(
        f"{path}: expected the {len(manifest.segments)} segments of version {manifest.version} in the newest "
        "version, found them rearranged by another process",
        remedy=f"Run: crossan cache compact {path}",
    )


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


def _replaced(newest: Manifest | None, old: Manifest, gathered: tuple[SegmentEntry, ...]) -> Content | None:
    count = len(old.segments)
    if newest is None or newest.segments[:count] != old.segments:
        return None
    return Content((*gathered, *newest.segments[count:]), newest.dropped)
