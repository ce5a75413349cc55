"""One process's unpublished work, durable batch by batch."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.canonical import sha256_hex
from crossan.cache_schema.errors import BusyError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.manifest import SegmentEntry
from crossan.cache_schema.modality import ItemStatus
from crossan.cache_schema.segment import Holding, new_segment_id
from crossan.common.files import NEW_FILE, fsync_folder, move, read_regular, write_all
from crossan.common.owners import our_token
from crossan.common.refusals import blaming, make_folder
from crossan.common.stores.folders import read_identity
from crossan.common.stores.journal_names import FREE, JournalName, is_abandoned, job_digest
from crossan.common.stores.records import (
    ItemRow,
    StagedItem,
    check_item,
    encode_record,
    read_records,
)
from crossan.common.stores.segment_writer import write_segment
from crossan.common.stores.stamps import next_stamp
from crossan.common.stores.values import bits_dtype
from crossan.common.stores.versions import commit_segment, list_versions, read_manifest

__all__ = ["ItemRow", "Journal"]

_LOG = "journal.log"
_BUILD = "segment"


class Journal:
    """The staging journal of one job in one store, as `Journal.open` gives it.

    Every `append` is durable when it returns. `publish` turns the items into one
    segment and one new version. A process killed anywhere loses at most the batch
    it was appending: the next `open` of the same job goes on from there, and
    finishes a publication that was cut off between its steps.
    """

    def __init__(self, store: Path, identity: StoreIdentity, name: JournalName) -> None:
        self._store, self._identity, self._name = store, identity, name
        self._items: dict[str, StagedItem] = {}
        self._entries: dict[str, tuple[str | None, ItemStatus]] = {}
        self._first_append: float | None = None
        # Until `_settle` has finished an interrupted publication, should there be one.
        self._is_publishing = True
        self._row_shape = (len(identity.layers), identity.dim)
        self._dtype = bits_dtype(identity.stored_dtype)
        self._log = self._open_log()
        self._settle()

    @classmethod
    def open(cls, folder: Path | str, job: str) -> Journal:
        """Take over the journal that a dead process left for ``job``, or begin one.

        Open the journal before the store: finishing an interrupted publication
        makes a version.

        Parameters
        ----------
        folder
            Of the store.
        job
            Name of the job, for example ``"shard 3/16"``; only journals of the same job are taken
            over.

        Raises
        ------
        StoreNotFoundError
            No store has been begun there.
        """
        folder = Path(folder)
        identity = read_identity(folder)
        staging = folder / "staging"
        make_folder(staging)
        owner = our_token()
        for path in sorted(staging.iterdir()):
            name = JournalName.parse(path.name)
            if name is None or name.job != job_digest(job) or not _is_left(path, name.owner):
                continue
            # Renaming is the claim: of several processes that look at once, one succeeds.
            name = JournalName(name.job, owner, name.segment_id)
            try:
                move(path, staging / str(name))
            except FileNotFoundError:  # another process was faster
                continue
            return cls(folder, identity, name)
        name = JournalName(job_digest(job), owner, new_segment_id())
        make_folder(staging / str(name))
        return cls(folder, identity, name)

    @property
    def entries(self) -> Mapping[str, tuple[str | None, ItemStatus]]:
        """Content digest and status of each item the journal holds."""
        return MappingProxyType(self._entries)

    @property
    def row_count(self) -> int:
        """Number of items the journal holds, whatever their status."""
        return len(self._items)

    @property
    def age_seconds(self) -> float:
        """Seconds since its first item was appended or it was taken over, 0 when empty."""
        return 0.0 if self._first_append is None else time.monotonic() - self._first_append

    def append(self, batch: Sequence[ItemRow]) -> None:
        """Add a batch as one record.

        It is on the disk when this returns. An item given again replaces its earlier row.

        Raises
        ------
        ValueError
            An id that no store can hold, a row of another shape or dtype, a row
            without status ok or status ok without one.
        BusyError
            Another process has taken this journal over.
        """
        if not batch:
            return
        for item in batch:
            check_item(item, self._row_shape, self._dtype)
        self._settle()
        self._require_ours()
        start = os.fstat(self._log).st_size
        record, staged = encode_record(batch, start)
        is_durable = False
        try:
            with blaming(self._folder / _LOG, len(record)):
                write_all(self._log, record)
                os.fsync(self._log)
            is_durable = True
        finally:
            # A full disk or a signal may have torn the record; the next one must not follow it.
            if not is_durable:
                with blaming(self._folder / _LOG):
                    os.ftruncate(self._log, start)
        self._hold(staged)

    def publish(self, producer: Mapping[str, Any]) -> int:
        """Commit what the journal holds as one segment of a new version, and empty the journal.

        Parameters
        ----------
        producer
            Provenance for ``segment.json``: versions, host kind, seconds. Must be JSON.

        Returns
        -------
        int
            The version that holds the items; for an empty journal the newest, 0 where there is
            none.
        """
        self._settle()
        if not self._items:
            return max(list_versions(self._store), default=0)
        self._require_ours()
        build = self._folder / _BUILD
        shutil.rmtree(build, ignore_errors=True)
        items = [self._items[key] for key in sorted(self._items)]
        segment_id = self._name.segment_id
        holding = Holding(frozenset({segment_id}), stamp=next_stamp(self._store))
        self._is_publishing = True
        write_segment(build, segment_id, self._identity, items, self._read_rows, producer, holding)
        move(build, self._segment)
        fsync_folder(self._segment.parent)
        version = self._settle()
        return self.publish(producer) if version is None else version

    def close(self) -> None:
        """Let go of the journal.

        An empty one is removed; one with items is free for the next process to take over.
        """
        if self._log < 0:
            return
        os.close(self._log)
        self._log = -1
        if not self._folder.is_dir():
            return
        if self._items:
            self._rename(JournalName(self._name.job, FREE, self._name.segment_id))
        else:
            with blaming(self._folder):
                shutil.rmtree(self._folder)

    @property
    def _folder(self) -> Path:
        return self._store / "staging" / str(self._name)

    @property
    def _segment(self) -> Path:
        return self._store / "segments" / self._name.segment_id

    def _settle(self) -> int | None:
        """Finish a publication that got as far as the segment's folder.

        Returns the version that holds it, None where there was none to finish, or where a garbage
        collection has dropped the segment meanwhile.
        """
        if not self._is_publishing:
            return None
        version: int | None = None
        if self._segment.is_dir():
            data = read_regular(self._store, f"segments/{self._name.segment_id}/segment.json")
            version = commit_segment(
                self._store, SegmentEntry(self._name.segment_id, sha256_hex(data))
            )
            if version is not None:
                self._empty()
        # The id is used up, also where a garbage collection has dropped it: the next segment needs
        # another one.
        if self._segment.is_dir() or self._was_dropped():
            self._rename(JournalName(self._name.job, self._name.owner, new_segment_id()))
        self._is_publishing = False
        return version

    def _was_dropped(self) -> bool:
        versions = list_versions(self._store)
        return (
            bool(versions)
            and self._name.segment_id in read_manifest(self._store, versions[-1]).dropped
        )

    def _empty(self) -> None:
        with blaming(self._folder / _LOG):
            os.ftruncate(self._log, 0)
            os.fsync(self._log)
        self._items.clear()
        self._entries.clear()
        self._first_append = None

    def _rename(self, name: JournalName) -> None:
        old, self._name = self._folder, name
        move(old, self._folder)
        fsync_folder(self._folder.parent)

    def _open_log(self) -> int:
        path = self._folder / _LOG
        with blaming(path):
            log = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, NEW_FILE)
        end = 0
        for staged, end in read_records(  # noqa: B007 - read after the loop
            log, self._dtype.itemsize * self._row_shape[0] * self._row_shape[1]
        ):
            self._hold(staged)
        with blaming(path):
            os.ftruncate(log, end)
            os.fsync(log)
        fsync_folder(self._folder)
        fsync_folder(self._folder.parent)
        return log

    def _hold(self, staged: Sequence[StagedItem]) -> None:
        for item in staged:
            self._items[item.item_id] = item
            self._entries[item.item_id] = (item.content_digest, item.status)
        if self._first_append is None:
            self._first_append = time.monotonic()

    def _read_rows(self, offsets: Sequence[int]) -> npt.NDArray[Any]:
        rows = np.empty((len(offsets), *self._row_shape), self._dtype)
        with blaming(self._folder / _LOG):
            for row, offset in zip(rows, offsets, strict=True):
                if os.preadv(self._log, [row.data], offset) != row.nbytes:
                    raise OSError(errno.EIO, "expected a whole row")
        return rows

    def _require_ours(self) -> None:
        if self._log < 0:
            raise ValueError("expected an open journal, found a closed one")
        if not self._folder.is_dir():
            raise BusyError(
                f"{self._folder}: expected our own journal, found it taken over by another process",
                remedy="Run the same command again.",
            )


def _is_left(path: Path, owner: str) -> bool:
    try:
        return is_abandoned(path, owner)
    except FileNotFoundError:  # taken over or removed while we looked
        return False
