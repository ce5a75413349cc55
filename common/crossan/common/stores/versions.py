"""The manifests of a store.

They are read and checked as a chain, and extended by compare and swap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from crossan.cache_schema.canonical import parse_object, pretty_bytes, sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError, StoreNotFoundError
from crossan.cache_schema.manifest import Manifest, SegmentEntry, version_name, version_number
from crossan.common.console import note
from crossan.common.files import create_exclusively, read_regular
from crossan.common.stores.folders import CANARY
from crossan.common.stores.unlisted import lost_manifest, lying_segments

__all__ = [
    "Content",
    "check_chain",
    "commit",
    "commit_segment",
    "create_manifest",
    "list_versions",
    "next_manifest",
    "read_chain",
    "read_manifest",
    "read_version",
]

_LOOKS = 3
"""Looks at a store before a manifest counts as lost."""


class Content(NamedTuple):
    """What a version lists.

    Its segments, oldest first, and the ids that were ever dropped.
    """

    segments: tuple[SegmentEntry, ...]
    dropped: tuple[str, ...] = ()


def list_versions(folder: Path) -> list[int]:
    """Return the versions of a store that have a manifest, oldest first."""
    versions = folder / "versions"
    names = [path.name for path in versions.iterdir()] if versions.is_dir() else []
    numbers = [version_number(name) for name in names]
    return sorted(number for number in numbers if number is not None)


def read_manifest(folder: Path, version: int) -> Manifest:
    """Read one manifest and check it against its own digest.

    Raises
    ------
    StoreIntegrityError, IncompatibleError
        It is damaged, or a newer crossan wrote it.
    """
    relative = f"versions/{version_name(version)}"
    where = str(folder / relative)
    data = read_regular(folder, relative)
    manifest = Manifest.from_dict(parse_object(data, where), where)
    if manifest.version != version:
        raise StoreIntegrityError(f"{where}: expected version {version}, found {manifest.version}")
    # Only one spelling is valid. A parsed manifest has one digest however it is spelled, and two
    # copies of a version could differ without anybody seeing it.
    if data != pretty_bytes(manifest.to_dict()):
        raise StoreIntegrityError(
            f"{where}: expected JSON as crossan writes it, found other white space or order"
        )
    return manifest


def read_version(folder: Path, version: int | None = None) -> Manifest:
    """Return the manifest of a version, the newest for None, with the chain before it checked.

    The newest that is left may not be the newest that there was: segments that no
    manifest lists, and no writer has claimed, tell so. A version that is named is
    given all the same.

    Raises
    ------
    StoreNotFoundError
        The store has no such version, or none yet.
    StoreIntegrityError
        A manifest is damaged, the chain has a gap, or the newest manifest was lost.
    """
    if version is None:
        return _newest(folder)
    versions = list_versions(folder)
    if version not in versions:
        if not versions or 0 < version < versions[-1]:
            _newest(folder)  # says which manifest was lost, where one was
        raise _not_found(folder, f"version {version}", versions)
    return read_chain(folder, version)[-1]


def _newest(folder: Path) -> Manifest:
    for looks_left in reversed(range(_LOOKS)):
        lying = lying_segments(folder)
        manifests = read_chain(folder)
        unlisted = lying.unlisted(reversed(manifests))
        if not unlisted.lost:
            break
        # A folder that is read while a name in it changes may show neither the old name nor the
        # new one. A claim that changes hands right now is seen by the next look.
        if not looks_left:
            raise lost_manifest(folder, len(manifests), unlisted.lost)
    if not manifests:
        raise _not_found(folder, "a version", [])
    if unlisted.claimed:
        _say_claimed(folder, len(manifests), unlisted.claimed)
    return manifests[-1]


def _not_found(folder: Path, requested: str, versions: list[int]) -> StoreNotFoundError:
    existing = f"versions {versions[0]} to {versions[-1]}" if versions else "none"
    return StoreNotFoundError(
        f"{folder}: expected {requested}, found {existing}",
        remedy=f"Run: crossan cache info {folder}",
    )


@cache  # said once, however often a command opens the store
def _say_claimed(folder: Path, version: int, claimed: tuple[str, ...]) -> None:
    note(
        f"{folder}: reading version {version}; {len(claimed):,} newer segments are not listed"
        " yet: their writer is at work, or was killed and lists them when it runs again"
    )


def read_chain(folder: Path, last: int | None = None) -> list[Manifest]:
    """Return the manifests of a store, oldest first, checked as a chain from version 1.

    Those after version ``last`` are left out.

    Raises
    ------
    StoreIntegrityError
        A manifest is damaged, or the chain has a gap.
    """
    versions = [number for number in list_versions(folder) if last is None or number <= last]
    manifests = [read_manifest(folder, number) for number in versions]
    check_chain(folder, manifests)
    return manifests


def check_chain(folder: Path, manifests: list[Manifest]) -> None:
    """Check that each manifest names the one before it, from version 1 on.

    Raises
    ------
    StoreIntegrityError
        A version is missing, or is not the one that the next was made from.
    """
    expected, parent = 1, None
    for manifest in manifests:
        where = folder / "versions" / version_name(manifest.version)
        if manifest.version != expected:
            missing = folder / "versions" / version_name(expected)
            raise StoreIntegrityError(
                f"{missing}: expected a manifest, found nothing, though {where.name} follows it",
                remedy="Run: crossan-extract --repair with the options of the store",
            )
        if manifest.parent != parent:
            raise StoreIntegrityError(
                f"{where}: expected the parent {parent}, found {manifest.parent}"
            )
        expected, parent = manifest.version + 1, manifest.digest


def next_manifest(
    newest: Manifest | None, content: Content, *, store_sha256: str, canary_sha256: str
) -> Manifest:
    """Return the manifest that follows ``newest``, the first for None."""
    return Manifest(
        version=newest.version + 1 if newest else 1,
        parent=newest.digest if newest else None,
        store_sha256=store_sha256,
        canary_sha256=canary_sha256,
        segments=content.segments,
        dropped=content.dropped,
    )


def commit(
    folder: Path,
    change: Callable[[Manifest | None], Content | None],
    *,
    is_canary_new: bool = False,
) -> Manifest | None:
    """Make the next version from the newest one.

    This is tried again and again until no other process is faster.

    Parameters
    ----------
    folder
        Folder of the store.
    change
        Returns what the next version lists, from the newest manifest, which is None where
        there is none. None as the result changes nothing. It is called anew each time
        another process has made a version meanwhile.
    is_canary_new
        Whether the canary was written anew on purpose.

    Returns
    -------
    Manifest or None
        The version made; None where ``change`` gave None.

    Raises
    ------
    StoreIntegrityError
        ``store.json`` or the canary are not those of the newest version. Nothing is added
        to a damaged store.
    """
    store_sha256 = sha256_hex(read_regular(folder, "store.json"))
    while True:
        canary_sha256 = sha256_hex(read_regular(folder, CANARY))
        versions = list_versions(folder)
        newest = read_manifest(folder, versions[-1]) if versions else None
        if newest is not None:
            _require_same(folder / "store.json", newest.store_sha256, store_sha256)
            _require_same(
                folder / CANARY,
                canary_sha256 if is_canary_new else newest.canary_sha256,
                canary_sha256,
            )
        content = change(newest)
        if content is None:
            return None
        manifest = next_manifest(
            newest, content, store_sha256=store_sha256, canary_sha256=canary_sha256
        )
        # Exclusive creation is the swap: of all who made a manifest of this number one wins, and
        # the others start anew from what it made.
        if create_manifest(folder, manifest):
            return manifest


def _require_same(path: Path, expected: str, actual: str) -> None:
    if actual != expected:
        raise StoreIntegrityError(
            f"{path}: expected SHA-256 {expected}, found {actual}",
            remedy="Run: crossan-extract --repair with the options of the store",
        )


def create_manifest(folder: Path, manifest: Manifest) -> bool:
    """Write a manifest, and return False where another process has made that version already."""
    return create_exclusively(
        folder / "versions" / version_name(manifest.version), pretty_bytes(manifest.to_dict())
    )


def commit_segment(folder: Path, entry: SegmentEntry) -> int | None:
    """Add a published segment to the newest version.

    Returns
    -------
    int or None
        The version that lists the segment first, or the newest one where the segment is
        listed already. None where a garbage collection has dropped it.
    """
    seen: Manifest | None = None

    def append(newest: Manifest | None) -> Content | None:
        nonlocal seen
        seen = newest
        if newest is None:
            return Content((entry,))
        if entry.segment_id in newest.dropped or entry in newest.segments:
            return None
        return Content((*newest.segments, entry), newest.dropped)

    made = commit(folder, append)
    if made is not None:
        return made.version
    assert seen is not None
    return seen.version if entry in seen.segments else None
