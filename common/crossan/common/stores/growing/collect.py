"""Garbage collection, which removes the segments that no kept version needs.

A version that says so is made before anything is removed.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.manifest import Manifest
from crossan.cache_schema.segment import is_segment_id
from crossan.common.files import fsync_folder
from crossan.common.stores.claims import claimed_segments, remove_dead_claims
from crossan.common.stores.pins import Pin, pinned_versions
from crossan.common.stores.unlisted import lying_segments
from crossan.common.stores.versions import (
    Content,
    commit,
    list_versions,
    read_chain,
    read_manifest,
    read_version,
)

__all__ = ["Collected", "collect"]

_TRASH = "collected-"
_DAMAGED = "damaged-"
"""Beginning of the name of what a repair has moved out of the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection removed, or would remove."""

    segments: tuple[str, ...]
    byte_count: int
    kept_versions: tuple[int, ...]
    pins: tuple[Pin, ...]


def collect(
    path: Path, *, keep: int = 3, runs: Sequence[Path] = (), is_dry: bool = False
) -> Collected:
    """Remove the segments that neither the last versions nor a pinned one lists.

    A version that lists the dropped ids is committed before anything goes: a
    writer whose segment is among them sees it, and publishes again. Manifests
    are never removed; opening a collected version says so. Segments that a
    journal or a living process claims stay.

    Parameters
    ----------
    path
        Folder of the store.
    keep
        How many of the last versions stay whole, at least 1.
    runs
        Folders to look for runs in, besides those that have pinned a version.
    is_dry
        Change nothing.
    """
    # This checks the whole chain, and that no manifest was lost: in a damaged store no segment can
    # be called unneeded.
    read_version(path)
    _empty_trash(path, is_dry)
    pins = pinned_versions(path, runs)
    plan: list[str] = []
    kept: tuple[int, ...] = ()

    def drop(newest: Manifest | None) -> Content | None:
        nonlocal plan, kept
        assert newest is not None
        kept = _kept_versions(path, newest, keep, pins)
        plan = _unneeded(path, newest, kept)
        # Ids that are dropped already need no version: an earlier collection was cut off after its
        # commit, and this one only has to remove their files.
        fresh = [segment for segment in plan if segment not in newest.dropped]
        if is_dry or not fresh:
            return None
        return Content(newest.segments, (*newest.dropped, *fresh))

    # The commit comes before any removal. A writer that publishes one of these segments
    # meanwhile learns from it that the segment was dropped.
    commit(path, drop)
    byte_count = sum(_size(path / "segments" / segment) for segment in plan)
    if not is_dry:
        for segment in plan:
            _remove(path, segment)
        # A writer that has died since the plan was made leaves a segment that is not in it.
        lying = lying_segments(path)
        remove_dead_claims(path, lying.unlisted(read_chain(path)).claimed)
    return Collected(
        segments=tuple(plan), byte_count=byte_count, kept_versions=kept, pins=tuple(pins)
    )


def _kept_versions(path: Path, newest: Manifest, keep: int, pins: Sequence[Pin]) -> tuple[int, ...]:
    pinned = {pin.version for pin in pins}
    return tuple(
        version
        for version in list_versions(path)
        if version <= newest.version and (version > newest.version - keep or version in pinned)
    )


def _unneeded(path: Path, newest: Manifest, kept: Sequence[int]) -> list[str]:
    needed = {
        entry.segment_id for version in kept for entry in read_manifest(path, version).segments
    }
    # A segment is published before a version lists it. Its claim protects it in between.
    needed |= {entry.segment_id for entry in newest.segments} | claimed_segments(path)
    folder = path / "segments"
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if is_segment_id(name) and name not in needed]


def _remove(path: Path, segment: str) -> None:
    """Take a segment's name away in one step, then its files, so that nobody sees half of it."""
    trash = path / "staging" / f"{_TRASH}{segment}-{secrets.token_hex(4)}"
    try:
        (path / "segments" / segment).rename(trash)
    except FileNotFoundError:  # another collection was faster
        return
    fsync_folder(path / "segments")
    shutil.rmtree(trash, ignore_errors=True)


def _empty_trash(path: Path, is_dry: bool) -> None:
    if is_dry:
        return
    for prefix in (_TRASH, _DAMAGED):
        for trash in sorted((path / "staging").glob(f"{prefix}*")):
            # Only the link itself is removed, not what it leads to.
            if trash.is_dir() and not trash.is_symlink():
                shutil.rmtree(trash)
            else:
                trash.unlink()


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
