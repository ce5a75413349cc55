"""The manifests of a store: read and checked as a chain, extended by compare and swap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from crossan.cache_schema.canonical import parse_object, pretty_bytes, sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError, StoreNotFoundError
from crossan.cache_schema.manifest import Manifest, SegmentEntry, version_name, version_number
from crossan.common.files import create_exclusively, read_regular
from crossan.common.stores.folders import CANARY

__all__ = [
    "Content",
    "check_chain",
    "commit",
    "commit_segment",
    "create_manifest",
    "list_versions",
    "next_manifest",
    "read_manifest",
    "read_version",
]


class Content(NamedTuple):
    """What a version lists: segments, oldest first, and the ids that were ever dropped."""

    segments: tuple[SegmentEntry, ...]
    dropped: tuple[str, ...] = ()


def list_versions(folder: Path) -> list[int]:
    """Return the versions of a store that have a manifest, oldest first."""
    versions = folder / "versions"
    names = [path.name for path in versions.iterdir()] if versions.is_dir() else []
    return sorted(version for name in names if (version := version_number(name)) is not None)


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
    if data != pretty_bytes(manifest.to_dict()):
        raise StoreIntegrityError(
            f"{where}: expected JSON as crossan writes it, found other white space or order"
        )
    return manifest


def read_version(folder: Path, version: int | None = None) -> Manifest:
    """Return the manifest of a version, the newest for None, with the chain before it checked.

    Raises
    ------
    StoreNotFoundError
        The store has no such version, or none yet.
    StoreIntegrityError
        A manifest is damaged, or the chain has a gap.
    """
    found = list_versions(folder)
    if not found or (version is not None and version not in found):
        shown = f"versions {found[0]} to {found[-1]}" if found else "none"
        wanted = "a version" if version is None else f"version {version}"
        raise StoreNotFoundError(
            f"{folder}: expected {wanted}, found {shown}",
            remedy=f"Run: crossan cache info {folder}",
        )
    last = found[-1] if version is None else version
    manifests = [read_manifest(folder, number) for number in found if number <= last]
    check_chain(folder, manifests)
    return manifests[-1]


def check_chain(folder: Path, manifests: list[Manifest]) -> None:
    """Check that each manifest names the one before it, from version 1 on.

    Raises
    ------
    StoreIntegrityError
        A version is not there, or is not the one that the next was made from.
    """
    expected, parent = 1, None
    for manifest in manifests:
        where = folder / "versions" / version_name(manifest.version)
        if manifest.version != expected:
            missing = folder / "versions" / version_name(expected)
            raise StoreIntegrityError(
                f"{missing}: expected a manifest, found nothing, though {where.name} follows it"
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
    """Make the next version from the newest one, again and again until no other process is faster.

    Parameters
    ----------
    folder
        Of the store.
    change
        From the newest manifest, None where there is none, to what the next one lists; None changes nothing.
        Called anew each time another process has made a version meanwhile.
    is_canary_new
        Whether the canary was written anew on purpose.

    Returns
    -------
    Manifest or None
        The version made; None where ``change`` gave None.

    Raises
    ------
    StoreIntegrityError
        ``store.json`` or the canary are not those of the newest version: nothing is added to a damaged store.
    """
    store_sha256 = sha256_hex(read_regular(folder, "store.json"))
    while True:
        canary_sha256 = sha256_hex(read_regular(folder, CANARY))
        found = list_versions(folder)
        newest = read_manifest(folder, found[-1]) if found else None
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
        if create_manifest(folder, manifest):
            return manifest


def _require_same(path: Path, expected: str, found: str) -> None:
    if found != expected:
        raise StoreIntegrityError(
            f"{path}: expected SHA-256 {expected}, found {found}",
            remedy="Run: crossan-extract --repair with the options of the store",
        )


def create_manifest(folder: Path, manifest: Manifest) -> bool:
    """Write a manifest unless another process has made that version already; say which."""
    return create_exclusively(
        folder / "versions" / version_name(manifest.version), pretty_bytes(manifest.to_dict())
    )


def commit_segment(folder: Path, entry: SegmentEntry) -> int | None:
    """Add a published segment to the newest version.

    Returns
    -------
    int or None
        The version that first lists the segment, or the newest one when it is
        listed already; None when a garbage collection has dropped it.
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
