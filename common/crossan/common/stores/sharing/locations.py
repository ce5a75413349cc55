"""The locations where a store can be, and what all of them can do.

A location is a folder, or objects under an address.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from crossan.cache_schema.canonical import sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.cache_schema.segment import FileEntry, SegmentRecord
from crossan.common.files import (
    create_exclusively,
    disk_full,
    read_regular,
    require_plain,
    write_durably,
)
from crossan.common.stores.claims import Claim
from crossan.common.stores.versions import list_versions

if TYPE_CHECKING:
    from crossan.common.stores.sharing.objects import ObjectRemote

__all__ = ["FolderLocation", "Location", "ObjectLocation", "Readable", "location_of"]

_FOLDER_WORKERS = 4
_OBJECT_WORKERS = 8
_FOLDERS = ("canary", "segments", "versions", "staging")
Advance = Callable[[int], None]
"""Called with the number of bytes that have arrived."""


class Readable(Protocol):
    """Files under one address.

    Keys are paths inside the store.
    """

    @property
    def url(self) -> str:
        """The folder or address as people read it."""

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a file, None where there is none."""


class Location(Readable, Protocol):
    """One store, wherever it is."""

    def newest_version(self) -> int:
        """Return the highest version that has a manifest, 0 for none."""

    def create(self, key: str, data: bytes) -> bool:
        """Create a file with all of ``data`` or not at all.

        False where the file exists already.
        """

    def holds(self, segment_id: str) -> bool:
        """Whether the location has the whole segment, in a manifest or not."""

    def put_segment(
        self, record: SegmentRecord, data: bytes, source: Readable, advance: Advance
    ) -> int:
        """Copy a segment from another location and check its bytes against its record.

        Where an earlier copy was cut off, this one goes on.

        Parameters
        ----------
        record
            The content of ``data``.
        data
            The bytes of its ``segment.json``.

        Returns
        -------
        int
            How many files travelled, without those that had arrived before.
        """

    def settle(self) -> None:
        """Give up the claims on the segments that were put, as a manifest lists them now."""


def location_of(text: str) -> Location:
    """Return the location that a path or an address names."""
    if "://" not in text:
        return FolderLocation(Path(text))
    if text.split("://", 1)[0] not in {"s3", "https", "http"}:
        raise UsageError(f"{text}: expected a folder, s3://BUCKET/PATH or https://HOST/PATH")
    from crossan.common.stores.sharing.objects import ObjectRemote

    return ObjectLocation(ObjectRemote.open(text))


class FolderLocation:
    """A store in a folder, also one that several machines mount.

    Parameters
    ----------
    path
        Folder of the store, which need not exist.
    is_linked
        Take files from other folders of the same file system by hard link instead of copying.
    """

    def __init__(self, path: Path, *, is_linked: bool = False) -> None:
        self.path, self.url = path, str(path)
        self._is_linked = is_linked
        self._claims: list[Claim] = []

    def newest_version(self) -> int:
        """Return the highest version that has a manifest, 0 for none."""
        return max(list_versions(self.path), default=0)

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a file, None where there is none."""
        return read_regular(self.path, key) if require_plain(self.path, key).is_file() else None

    def create(self, key: str, data: bytes) -> bool:
        """Create a file with all of ``data`` or not at all.

        False where the file exists already.
        """
        for name in _FOLDERS:
            (self.path / name).mkdir(parents=True, exist_ok=True)
        return create_exclusively(self.path / key, data)

    def holds(self, segment_id: str) -> bool:
        """Whether the folder has the whole segment, which is published by one rename."""
        return (self.path / "segments" / segment_id / "segment.json").is_file()

    def put_segment(
        self, record: SegmentRecord, data: bytes, source: Readable, advance: Advance
    ) -> int:
        """Build the segment under a claim, then rename it to where segments lie."""
        for name in _FOLDERS:
            (self.path / name).mkdir(parents=True, exist_ok=True)
        needed = sum(entry.size for entry in record.files)
        # Before the first byte travels: a disk that is too small is known now, not after an hour.
        # Links take no space.
        statvfs = os.statvfs(self.path)
        if statvfs.f_bavail * statvfs.f_frsize < needed and not self._is_linked:
            raise disk_full(self.path / "segments" / record.segment_id, needed)
        # The claim keeps a collection from taking the segment until a manifest lists it.
        claim = Claim.take(self.path, "transfer", record.segment_id)
        self._claims.append(claim)

        def put(entry: FileEntry) -> bool:
            key = f"segments/{record.segment_id}/{entry.path}"
            is_new = self._put_file(claim.build / entry.path, key, entry, source)
            advance(entry.size)
            return is_new

        file_count = _in_parallel(_FOLDER_WORKERS, put, record.files)
        # One that was cut off may be left from an earlier try, and may be torn.
        (claim.build / "segment.json").unlink(missing_ok=True)
        write_durably(claim.build / "segment.json", data)
        claim.publish()
        return file_count + 1

    def settle(self) -> None:
        """Give up the claims on the segments that were put, as a manifest lists them now."""
        for claim in self._claims:
            claim.release()
        self._claims.clear()

    def _put_file(self, target: Path, key: str, entry: FileEntry, source: Readable) -> bool:
        # Size first, as it costs nothing. The digest then says whether the file had arrived whole
        # before an earlier transfer was cut off.
        if (
            target.is_file()
            and target.stat().st_size == entry.size
            and sha256_hex(target.read_bytes()) == entry.sha256
        ):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        is_put = (
            self._is_linked
            and isinstance(source, FolderLocation)
            and _linked(source.path, key, target, entry)
        )
        if not is_put:
            write_durably(target, _arrived(source, key, entry))
        return True


class ObjectLocation:
    """A store as objects on S3, or on a plain web server to read from."""

    def __init__(self, remote: ObjectRemote) -> None:
        self._remote, self.url = remote, remote.url

    def newest_version(self) -> int:
        """Return the highest version that has a manifest, 0 for none."""
        return self._remote.newest_version()

    def read(self, key: str) -> bytes | None:
        """Return the bytes of an object, None where there is none."""
        return self._remote.read(key)

    def create(self, key: str, data: bytes) -> bool:
        """Create an object with ``data``.

        True also where an object with exactly these bytes exists, False where it holds others.
        """
        if self._remote.is_read_only:
            raise UsageError(f"{self.url}: a web server can be pulled from, not pushed to")
        return self._remote.create(key, data)

    def holds(self, segment_id: str) -> bool:
        """Whether the address has the whole segment, whose ``segment.json`` is sent last."""
        return self._remote.read(f"segments/{segment_id}/segment.json") is not None

    def put_segment(
        self, record: SegmentRecord, data: bytes, source: Readable, advance: Advance
    ) -> int:
        """Send the files that have not arrived yet, ``segment.json`` last."""
        prefix = f"segments/{record.segment_id}/"
        arrived_sizes = self._remote.sizes(prefix)

        def put(entry: FileEntry) -> bool:
            key = prefix + entry.path
            # An object exists whole or not at all, so its size is enough to know it.
            is_new = arrived_sizes.get(key) != entry.size
            if is_new:
                self._create(key, _arrived(source, key, entry))
            advance(entry.size)
            return is_new

        file_count = _in_parallel(_OBJECT_WORKERS, put, record.files)
        self._create(f"{prefix}segment.json", data)
        return file_count + 1

    def settle(self) -> None:
        """Nothing to give up."""

    def _create(self, key: str, data: bytes) -> None:
        if not self.create(key, data):
            raise StoreIntegrityError(
                f"{self.url}/{key}: expected our {len(data):,} bytes, found other bytes"
            )


def _arrived(source: Readable, key: str, entry: FileEntry) -> bytes:
    data = source.read(key)
    where = f"{source.url}/{key}"
    if data is None:
        raise StoreIntegrityError(f"{where}: expected {entry.size:,} bytes, found no such file")
    if len(data) != entry.size or sha256_hex(data) != entry.sha256:
        is_folder = isinstance(source, FolderLocation)  # fsck works on folders only
        remedy = f"Run: crossan cache fsck {source.url}" if is_folder else None
        raise StoreIntegrityError(
            f"{where}: expected {entry.size:,} bytes with SHA-256 {entry.sha256}, "
            f"found {len(data):,} with {sha256_hex(data)}",
            remedy=remedy,
        )
    return data


def _linked(store: Path, key: str, target: Path, entry: FileEntry) -> bool:
    origin = require_plain(store, key)
    # Only chunks are linked. Metadata is small, and is checked when it is copied.
    if entry.crc32c is None or not origin.is_file() or origin.stat().st_size != entry.size:
        return False
    try:
        os.link(origin, target)
    except OSError:  # another file system, or one without hard links
        return False
    return True


def _in_parallel(
    worker_count: int, put: Callable[[FileEntry], bool], entries: Sequence[FileEntry]
) -> int:
    """Put the files and return how many of them travelled."""
    with ThreadPoolExecutor(worker_count, thread_name_prefix="crossan-transfer") as pool:
        waiting = [pool.submit(put, entry) for entry in entries]
        try:
            return sum(done.result() for done in waiting)
        # The first error, or Ctrl-C, ends the transfer: files that have not begun need not travel.
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
