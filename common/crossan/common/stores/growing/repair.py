"""Mending a store without computing anything."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.canonical import pretty_bytes, sha256_hex
from crossan.cache_schema.errors import CrossanError, StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.manifest import Manifest, SegmentEntry, version_name
from crossan.cache_schema.segment import Holding, is_segment_id
from crossan.common.files import fsync_folder, read_regular, replace_durably
from crossan.common.refusals import make_folder
from crossan.common.stores.claims import claimed_segments, release_claims
from crossan.common.stores.clearing import FOLDERS, clear_folders
from crossan.common.stores.folders import CANARY, canary_bytes
from crossan.common.stores.growing.salvage import Wreck, examine, lost_items, rescue
from crossan.common.stores.segments import read_record, read_segment
from crossan.common.stores.sharing.lineage import unite
from crossan.common.stores.versions import (
    Content,
    commit,
    list_versions,
    read_chain,
    read_manifest,
    read_version,
)

__all__ = ["Repaired", "repair"]


@dataclass(slots=True)
class Repaired:
    """What a repair did.

    ``lost_items`` have to be computed again, where their media are still there.
    """

    restored: list[str] = field(default_factory=list)
    """Files that are as they were again."""
    dropped_segments: list[str] = field(default_factory=list)
    rescued_items: int = 0
    lost_items: list[str] = field(default_factory=list)
    """Known items whose hidden states are gone, those of an unreadable index left out."""

    def to_text(self) -> str:
        """Return one line for people."""
        return (
            f"{len(self.restored)} files restored, {len(self.dropped_segments)} segments dropped, "
            f"{self.rescued_items:,} of their items rescued, "
            f"{len(self.lost_items):,} to be computed again"
        )


def repair(path: Path, identity: StoreIdentity, canary: npt.NDArray[np.float32]) -> Repaired:
    """Bring a damaged store back to a sound newest version.

    It is for a job that then computes what was lost. Restored are ``store.json`` and the canary
    (the job knows both), the array metadata (it follows from the rest), a manifest that its
    neighbours tell, and segments that lost their manifest. A segment with other damage is left out
    of the new version; those of its items that are sound go into a new segment.

    Parameters
    ----------
    path
        Folder of the store.
    identity
        What its ``store.json`` must say.
    canary
        ``(4, layer, dim)``, computed now.

    Raises
    ------
    StoreIntegrityError
        The history of the versions, or ``store.json``, cannot be told from what is left.
    """
    done = Repaired()
    clear_folders(path)
    for name in FOLDERS:
        make_folder(path / name)
    _mend_manifests(path, done)
    recorded = read_chain(path)[-1] if list_versions(path) else None
    _mend_identity(path, identity, recorded, done)
    _mend_canary(path, canary, recorded, done)
    _readopt(path, identity, done)
    if not list_versions(path):
        return done
    newest = read_version(path)
    wrecks = [
        wreck
        for entry in newest.segments
        if (wreck := examine(path, entry, identity, done.restored))
    ]
    if wrecks:
        _leave_out(path, identity, wrecks, done)
    return done


def _mend_manifests(path: Path, done: Repaired) -> None:
    """Restore each manifest that is damaged or gone from its neighbours.

    A damaged newest one is moved away: nothing tells what it listed.
    """
    last = max(list_versions(path), default=0)
    sound = {
        version: manifest for version in range(1, last + 1) if (manifest := _sound(path, version))
    }
    for version in range(last, 0, -1):
        if version in sound:
            continue
        file = path / "versions" / version_name(version)
        if version == last:
            if file.exists() or file.is_symlink():
                file.replace(path / "staging" / f"damaged-{file.name}")
                fsync_folder(file.parent)
            last -= 1
            continue
        candidates = _candidates(sound[version + 1], sound.get(version - 1), version)
        # The next manifest records the digest of this one, so a guess that fits is the manifest.
        restored = next(
            (manifest for manifest in candidates if manifest.digest == sound[version + 1].parent),
            None,
        )
        if restored is None:
            raise StoreIntegrityError(
                f"{file}: expected the manifest with digest {sound[version + 1].parent}, "
                "found none that fits",
                remedy="Copy this file back from another copy of the store, "
                "or extract into another --cache.",
            )
        if file.is_dir():
            file.rename(path / "staging" / f"damaged-{file.name}")
        replace_durably(file, pretty_bytes(restored.to_dict()))
        sound[version] = restored
        done.restored.append(str(file))


def _sound(path: Path, version: int) -> Manifest | None:
    try:
        return read_manifest(path, version)
    except StoreIntegrityError:
        return None


def _candidates(after: Manifest, before: Manifest | None, version: int) -> Iterator[Manifest]:
    """Yield the manifests that a lost version may have had.

    It listed what its child lists less the last segments, or what its parent lists.
    """
    fewer = (after.segments[:count] for count in range(len(after.segments), -1, -1))
    parents = [before.digest] if before else [None] if version == 1 else _parent_unknown()
    neighbours = [neighbour for neighbour in (after, before) if neighbour is not None]
    for segments in chain(fewer, [before.segments] if before else []):
        for parent in parents:
            for neighbour in neighbours:
                yield Manifest(
                    version=version,
                    parent=parent,
                    store_sha256=after.store_sha256,
                    canary_sha256=neighbour.canary_sha256,
                    segments=segments,
                    dropped=neighbour.dropped,
                )


def _parent_unknown() -> list[str | None]:
    # Of two lost neighbours the older one's digest is recorded in the newer one alone.
    return []


def _readopt(path: Path, identity: StoreIdentity, done: Repaired) -> None:
    """List again the sound segments that no manifest lists, because the newest one was lost."""
    known: set[str] = claimed_segments(path)
    for version in list_versions(path):
        manifest = read_manifest(path, version)
        known |= {entry.segment_id for entry in manifest.segments} | set(manifest.dropped)
    folder = path / "segments"
    lying = sorted(segment.name for segment in folder.iterdir()) if folder.is_dir() else []
    readable: dict[SegmentEntry, Holding] = {}
    for name in (name for name in lying if is_segment_id(name) and name not in known):
        try:
            entry = SegmentEntry(
                name, sha256_hex(read_regular(path, f"segments/{name}/segment.json"))
            )
            readable[entry] = read_segment(path, entry, identity).record.holding
        except CrossanError:
            # Left here it would count as a segment whose manifest is lost, for ever.
            _move_away(path, name)
    if not readable:
        return
    made = commit(path, lambda newest: _readopted(path, newest, readable))
    listed = set(made.segments) if made is not None else set()
    for entry in readable:
        if entry in listed:
            done.restored.append(str(folder / entry.segment_id))
        else:  # others hold its content
            _move_away(path, entry.segment_id)


def _readopted(
    path: Path, newest: Manifest | None, found: dict[SegmentEntry, Holding]
) -> Content | None:
    """List the found segments too, but not those whose content is listed.

    An interrupted compaction leaves such ones.
    """
    listed = newest.segments if newest else ()
    known = found | {entry: _holding(path, entry) for entry in listed}
    united = unite(listed, list(found), known.__getitem__)
    return None if united == tuple(listed) else Content(united, newest.dropped if newest else ())


def _holding(path: Path, entry: SegmentEntry) -> Holding:
    try:
        return read_record(lambda key: read_regular(path, key), entry, str(path)).holding
    except CrossanError:  # damaged: looked at later
        return Holding(frozenset({entry.segment_id}))


def _mend_identity(
    path: Path, identity: StoreIdentity, newest: Manifest | None, done: Repaired
) -> None:
    file, data = path / "store.json", pretty_bytes(identity.to_dict())
    expected = newest.store_sha256 if newest else sha256_hex(data)
    if file.is_file() and not file.is_symlink() and sha256_hex(file.read_bytes()) == expected:
        return
    if sha256_hex(data) != expected:
        raise StoreIntegrityError(
            f"{file}: expected SHA-256 {expected}, "
            "found what this command's options do not give either",
            remedy="Repeat the options that the store was begun with, "
            "--stored-dtype and --codec too.",
        )
    replace_durably(file, data)
    done.restored.append(str(file))


def _mend_canary(
    path: Path, canary: npt.NDArray[np.float32], newest: Manifest | None, done: Repaired
) -> None:
    file = path / CANARY
    is_there = file.is_file() and not file.is_symlink()
    if is_there and (newest is None or sha256_hex(file.read_bytes()) == newest.canary_sha256):
        return
    make_folder(file.parent)
    data = canary_bytes(canary)
    replace_durably(file, data)
    done.restored.append(str(file))
    if newest is not None and sha256_hex(data) != newest.canary_sha256:
        # Another machine's rounding: the next version records it.
        commit(
            path,
            lambda found: Content(found.segments, found.dropped) if found else None,
            is_canary_new=True,
        )


def _leave_out(path: Path, identity: StoreIdentity, wrecks: list[Wreck], done: Repaired) -> None:
    """List in the place of each damaged segment what was rescued of it.

    In its place, so that what came later still wins.
    """
    rescued = {wreck.entry: rescue(path, identity, wreck) for wreck in wrecks}

    def replaced(found: Manifest | None) -> Content | None:
        if found is None:
            return None
        # The damaged ones are not listed as dropped: a pull may bring them back whole.
        return Content(
            tuple(rescued[entry][1] if entry in rescued else entry for entry in found.segments),
            found.dropped,
        )

    commit(path, replaced)
    release_claims(path, [claim for claim, _ in rescued.values()])
    for wreck in wrecks:
        lost = lost_items(wreck)
        done.lost_items += lost
        done.rescued_items += wreck.segment.record.item_count - len(lost) if wreck.segment else 0
        done.dropped_segments.append(wreck.entry.segment_id)
        _move_away(path, wreck.entry.segment_id)


def _move_away(path: Path, segment: str) -> None:
    folder = path / "segments" / segment
    if folder.is_symlink() or folder.exists():
        folder.rename(path / "staging" / f"damaged-{segment}-{secrets.token_hex(4)}")
