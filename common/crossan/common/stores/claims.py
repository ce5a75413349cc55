"""A claim on a segment that is about to be published.

Nobody collects a claimed segment, and a process of the same job can take a dead
process's claim over.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.files import fsync_folder
from crossan.common.owners import our_token
from crossan.common.refusals import make_folder
from crossan.common.stores.journal_names import JournalName, is_abandoned, job_digest
from crossan.common.stores.unlisted import lying_segments
from crossan.common.stores.versions import read_chain

__all__ = ["Claim", "claimed_segments", "release_claims", "remove_dead_claims"]

_BUILD = "segment"
_DISCARDED = "discarded"


class Claim:
    """One process's claim, a folder in ``staging/``.

    Get one from `Claim.take`. The segment is built inside the folder, `publish`
    renames it to where segments lie, and `release` gives the claim up once a manifest
    lists the segment.
    """

    def __init__(self, store: Path, name: JournalName) -> None:
        self._store, self._name = store, name
        make_folder(self.build)

    @classmethod
    def take(cls, store: Path, job: str, segment_id: str) -> Claim:
        """Claim a segment for this process.

        Whatever a dead process of the same job has built of the segment comes with it.

        Parameters
        ----------
        store
            Folder of the store.
        job
            What is being done: ``"transfer"``, ``"compact"``.
        segment_id
            Id of the segment.
        """
        staging = store / "staging"
        make_folder(staging)
        ours = JournalName(job_digest(job), our_token(), segment_id)
        for path in staging.glob(f"{ours.job}.*.{segment_id}"):
            other = JournalName.parse(path.name)
            if other is None or other.owner == ours.owner:
                continue
            try:
                # One rename takes the claim over with all that was built: of two processes that
                # try, the second finds nothing under the old name.
                if is_abandoned(path, other.owner):
                    path.rename(staging / str(ours))
            except OSError as error:  # another process was faster, or we hold a claim already
                if error.errno not in {errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST}:
                    raise
        return cls(store, ours)

    @property
    def folder(self) -> Path:
        """The claim itself."""
        return self._store / "staging" / str(self._name)

    @property
    def segment_id(self) -> str:
        """Id of the segment that is claimed."""
        return self._name.segment_id

    @property
    def build(self) -> Path:
        """Folder to build the segment in."""
        return self.folder / _BUILD

    def publish(self) -> None:
        """Rename the built segment into the folder of segments.

        A segment of this id that is there already is the same, and stays.
        """
        # Every name inside is on the disk before the segment gets its own: after a crash a
        # published segment is never without some of its files.
        for inner in (path for path in self.build.rglob("*") if path.is_dir()):
            fsync_folder(inner)
        fsync_folder(self.build)
        segments = self._store / "segments"
        make_folder(segments)
        try:
            self.build.rename(segments / self._name.segment_id)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            shutil.rmtree(self.build)
        fsync_folder(segments)

    def release(self) -> None:
        """Give the claim up."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def discard(self) -> None:
        """Take the published segment back, which nobody else knows of, and give the claim up."""
        with suppress(FileNotFoundError):
            (self._store / "segments" / self.segment_id).rename(self.folder / _DISCARDED)
            fsync_folder(self._store / "segments")
        self.release()


def release_claims(store: Path, claims: Sequence[Claim]) -> None:
    """Give up the claims, but not those on segments that no manifest lists.

    Without its claim such a segment would look as one whose manifest was lost. It stays
    claimed until a garbage collection takes both: another process may be about to list it.
    """
    if not claims:
        return
    try:
        unlisted = lying_segments(store).unlisted(read_chain(store)).claimed
    except StoreIntegrityError:  # which the next reader reports: claims do no harm meanwhile
        return
    for claim in claims:
        if claim.segment_id not in unlisted:
            claim.release()


def claimed_segments(store: Path) -> set[str]:
    """Return the ids of the segments that no collection may remove.

    They are those that a journal with items names, or a journal or claim of a living
    process.
    """
    claimed = set()
    for path in _staged(store):
        name = JournalName.parse(path.name)
        if name is not None and ((path / "journal.log").exists() or not _is_dead(path, name)):
            claimed.add(name.segment_id)
    return claimed


def remove_dead_claims(store: Path, unlisted: Collection[str] = ()) -> None:
    """Remove the claims, not the journals, of processes that have ended.

    Claims on segments that are published and ``unlisted`` stay: without its claim, such
    a segment would look as one whose manifest was lost.
    """
    for path in _staged(store):
        name = JournalName.parse(path.name)
        if name is None or name.segment_id in unlisted or (path / "journal.log").exists():
            continue
        if _is_dead(path, name):
            shutil.rmtree(path, ignore_errors=True)


def _staged(store: Path) -> list[Path]:
    return sorted((store / "staging").iterdir()) if (store / "staging").is_dir() else []


def _is_dead(path: Path, name: JournalName) -> bool:
    try:
        return is_abandoned(path, name.owner)
    except FileNotFoundError:
        return True
