"""Making whole what is damaged at one location from what another one has."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from crossan.cache_schema.canonical import parse_object, pretty_bytes, sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.manifest import Manifest, SegmentEntry, version_name
from crossan.common.console import note, progress
from crossan.common.stores.folders import CANARY
from crossan.common.stores.segments import read_record, read_segment
from crossan.common.stores.sharing.location import Location, Readable, arrived
from crossan.common.stores.sharing.locations import FolderLocation
from crossan.common.stores.soundness import find_flaws

__all__ = ["mend", "require_sound"]


def mend(
    source: Location, target: Location, requested: Manifest, *, are_files_checked: bool = True
) -> list[str]:
    """Replace what is damaged at the target by what the source has of it.

    Looked at are the target's folders and manifests, its ``store.json`` and canary, and every file
    of the segments that it has of the source's version and of its own. Of a bucket that is
    not read back only the newest manifest is looked at, and the source's segments. What is
    damaged and not at the source is said.

    Parameters
    ----------
    source, target
        Where the sound files come from, and where they go.
    requested
        The version of the source.
    are_files_checked
        Whether the files of segments are looked at.

    Returns
    -------
    list of str
        Paths inside the store of the files and folders that were replaced.

    Raises
    ------
    StoreIntegrityError
        The source's file is damaged too.
    """
    mended = target.clear_folders()
    mended += _mend_manifests(source, target)
    last = target.newest_version()
    newest = _sound_manifest(target, last)
    if last and newest is None:
        return mended  # whoever reads the history next says which file it is
    recorded = newest or requested
    for key, sha256 in (("store.json", recorded.store_sha256), (CANARY, recorded.canary_sha256)):
        data = _read_or_none(target, key)
        if (data is None and not last) or (data is not None and sha256_hex(data) == sha256):
            continue  # sound, or not begun yet
        theirs = _read_or_none(source, key) if last else None
        if theirs is not None and sha256_hex(theirs) == sha256:
            target.replace(key, theirs)
            mended.append(key)
    if are_files_checked:
        listed = [*requested.segments, *(_listed(target, last) if target.is_read_back else ())]
        entries = [entry for entry in dict.fromkeys(listed) if target.has_part(entry.segment_id)]
        with progress(f"check {target.url}", len(entries), "segments") as shown:
            for entry in entries:
                mended += _mend_segment(source, target, entry)
                shown.advance()
    return mended


def require_sound(source: FolderLocation, requested: Manifest, target: Location) -> None:
    """Check every byte of the segments that a merge is about to link.

    Raises
    ------
    StoreIntegrityError
        A file is damaged, or an item that is ok has no numbers. Names the file.
    """
    data = source.read("store.json") or b""
    identity = StoreIdentity.from_dict(
        parse_object(data, f"{source.url}/store.json"), f"{source.url}/store.json"
    )
    for entry in requested.segments:
        if target.holds(entry.segment_id):
            continue
        segment = read_segment(source.path, entry, identity)
        for number, flaw in find_flaws(segment.path, segment.record, segment.layout).items():
            raise StoreIntegrityError(
                f"{segment.path / segment.record.chunks[number].path}: {flaw.what}",
                remedy=f"Run: crossan cache fsck {source.url}",
            )


def _mend_manifests(source: Location, target: Location) -> list[str]:
    """Restore manifests of the target that are damaged or gone, where the source's one fits."""
    mended = []
    last = target.newest_version()
    first = 1 if target.is_read_back else max(1, last)
    for version in range(first, last + 1):
        if _sound_manifest(target, version) is not None:
            continue
        theirs = _sound_manifest(source, version)
        if theirs is None:
            continue
        if _fits(theirs, target):
            key = f"versions/{version_name(version)}"
            target.replace(key, pretty_bytes(theirs.to_dict()))
            mended.append(key)
    return mended


def _fits(theirs: Manifest, target: Location) -> bool:
    """Whether a manifest of the source is the one that was at the target.

    Two histories may each have a version of its number. The digests on both sides tell,
    and the segments that lie there.
    """
    store = _read_or_none(target, "store.json")
    if store is not None and sha256_hex(store) != theirs.store_sha256 and _is_identity(store):
        return False
    before, after = (_sound_manifest(target, theirs.version + step) for step in (-1, 1))
    if after is not None and after.parent != theirs.digest:
        return False
    if theirs.version > 1:
        return before is not None and before.digest == theirs.parent
    return after is not None or any(target.has_part(entry.segment_id) for entry in theirs.segments)


def _is_identity(data: bytes) -> bool:
    try:
        StoreIdentity.from_dict(parse_object(data, "store.json"))
    except StoreIntegrityError:
        return False
    return True


def _listed(target: Location, last: int) -> Iterator[SegmentEntry]:
    """Yield what the versions of a target list, the newest first."""
    for version in range(last, 0, -1):
        manifest = _sound_manifest(target, version)
        yield from manifest.segments if manifest else ()


def _mend_segment(source: Location, target: Location, entry: SegmentEntry) -> list[str]:
    mended = []
    prefix = f"segments/{entry.segment_id}"
    key = f"{prefix}/segment.json"
    data = _read_or_none(target, key)
    if data is None or sha256_hex(data) != entry.sha256:
        data = _read_or_none(source, key)
        if data is None or sha256_hex(data) != entry.sha256:
            return _say_missing(source, target, entry)
        target.replace(key, data)
        mended.append(key)
    record = read_record(partial(_known, data), entry, target.url)
    unsound = target.unsound(record, source)
    if unsound and not source.holds(entry.segment_id):
        return _say_missing(source, target, entry)
    for file in unsound:
        key = f"{prefix}/{file.path}"
        target.replace(key, arrived(source, key, file))
        mended.append(key)
    return mended


def _say_missing(source: Location, target: Location, entry: SegmentEntry) -> list[str]:
    note(f"{target.url}: segment {entry.segment_id} is damaged, and {source.url} does not have it")
    return []


def _sound_manifest(location: Location, version: int) -> Manifest | None:
    key = f"versions/{version_name(version)}"
    data = _read_or_none(location, key) if version else None
    if data is None:
        return None
    where = f"{location.url}/{key}"
    try:
        manifest = Manifest.from_dict(parse_object(data, where), where)
    except StoreIntegrityError:
        return None
    is_sound = manifest.version == version and data == pretty_bytes(manifest.to_dict())
    return manifest if is_sound else None


def _read_or_none(location: Readable, key: str) -> bytes | None:
    """Return a file's bytes, None where it is missing, a link, or larger than it may be."""
    try:
        return location.read(key)
    except StoreIntegrityError:
        return None


def _known(data: bytes, key: str) -> bytes:
    del key
    return data
