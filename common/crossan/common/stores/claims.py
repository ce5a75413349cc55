"""A claim on a segment that is about to be published: nobody collects it, and a process after ours can take it over."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from crossan.common.files import fsync_folder
from crossan.common.owners import our_token
from crossan.common.stores.journal_names import JournalName, is_abandoned, job_digest

__all__ = ["Claim", "claimed_segments"]

_BUILD = "segment"


class Claim:
    """One folder in ``staging/``; get one from `Claim.take`.

    The segment is built inside it, renamed to its place by `publish`, and the
    claim is given up by `release` once a manifest lists the segment.
    """

    def __init__(self, store: Path, name: JournalName) -> None:
        self._store, self._name = store, name
        self.build.mkdir(parents=True, exist_ok=True)

    @classmethod
    def take(cls, store: Path, job: str, segment_id: str) -> Claim:
        """Claim a segment for this process, with whatever a dead process of the same job has built of it.

        Parameters
        ----------
        store
            Folder of the store.
        job
            What is being done: ``"transfer"``, ``"compact"``.
        segment_id
            Of the segment.
        """
        staging = store / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        ours = JournalName(job_digest(job), our_token(), segment_id)
        for path in staging.glob(f"{ours.job}.*.{segment_id}"):
            left = JournalName.parse(path.name)
            if left is None or left.owner == ours.owner:
                continue
            try:
                if is_abandoned(path, left.owner):
                    path.rename(staging / str(ours))
            except OSError as error:  # another process was faster, or we have one of our own
                if error.errno not in {errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST}:
                    raise
        return cls(store, ours)

    @property
    def folder(self) -> Path:
        """The claim itself."""
        return self._store / "staging" / str(self._name)

    @property
    def segment_id(self) -> str:
        """Of the segment that is claimed."""
        return self._name.segment_id

    @property
    def build(self) -> Path:
        """Folder to build the segment in."""
        return self.folder / _BUILD

    def publish(self) -> None:
        """Rename the built segment to its place; one that lies there already is the same, and stays."""
        for inner in (path for path in self.build.rglob("*") if path.is_dir()):
            fsync_folder(inner)
        fsync_folder(self.build)
        segments = self._store / "segments"
        segments.mkdir(exist_ok=True)
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


def claimed_segments(store: Path) -> set[str]:
    """Return the ids of the segments that journals and claims of living processes, or journals with items, name."""
    claimed = set()
    for path in _staged(store):
        name = JournalName.parse(path.name)
        if name is not None and ((path / "journal.log").exists() or not _is_dead(path, name)):
            claimed.add(name.segment_id)
    return claimed


def remove_dead_claims(store: Path) -> None:
    """Remove the claims, not the journals, of processes that have ended."""
    for path in _staged(store):
        name = JournalName.parse(path.name)
        if name is not None and not (path / "journal.log").exists() and _is_dead(path, name):
            shutil.rmtree(path, ignore_errors=True)


def _staged(store: Path) -> list[Path]:
    return sorted((store / "staging").iterdir()) if (store / "staging").is_dir() else []


def _is_dead(path: Path, name: JournalName) -> bool:
    try:
        return is_abandoned(path, name.owner)
    except FileNotFoundError:
        return True
