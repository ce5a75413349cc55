"""The manifests of a store: read and checked as a chain, extended by compare and swap."""

from __future__ import annotations

from pathlib import Path

from crossan.cache_schema.canonical import parse_object, pretty_bytes, sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError, StoreNotFoundError
from crossan.cache_schema.manifest import Manifest, SegmentEntry, version_name, version_number
from crossan.common.stores.files import create_exclusively, read_regular
from crossan.common.stores.folders import CANARY

__all__ = ["check_chain", "commit_segment", "list_versions", "read_manifest", "read_version"]


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
        raise StoreIntegrityError(f"{where}: expected JSON as crossan writes it, found other white space or order")
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
            f"{folder}: expected {wanted}, found {shown}", remedy=f"Run: crossan cache info {folder}"
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
            raise StoreIntegrityError(f"{missing}: expected a manifest, found nothing, though {where.name} follows it")
        if manifest.parent != parent:
            raise StoreIntegrityError(f"{where}: expected the parent {parent}, found {manifest.parent}")
        expected, parent = manifest.version + 1, manifest.digest


def commit_segment(folder: Path, entry: SegmentEntry) -> int | None:
    """Add a published segment to the newest version, again and again until no other process is faster.

    Returns
    -------
    int or None
        The version that first lists the segment, or the newest one when it is
        listed already; None when a garbage collection has dropped it.
    """
    store_sha256 = sha256_hex(read_regular(folder, "store.json"))
    canary_sha256 = sha256_hex(read_regular(folder, CANARY))
    while True:
        found = list_versions(folder)
        newest = read_manifest(folder, found[-1]) if found else None
        if newest is not None and entry.segment_id in newest.dropped:
            return None
        if newest is not None and entry in newest.segments:
            return newest.version
        manifest = Manifest(
            version=newest.version + 1 if newest else 1,
            parent=newest.digest if newest else None,
            store_sha256=store_sha256,
            canary_sha256=canary_sha256,
            segments=(*(newest.segments if newest else ()), entry),
            dropped=newest.dropped if newest else (),
        )
        path = folder / "versions" / version_name(manifest.version)
        if create_exclusively(path, pretty_bytes(manifest.to_dict())):
            return manifest.version
