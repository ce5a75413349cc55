"""A store as objects in a bucket, or on a web server to read from."""

from __future__ import annotations

import hashlib
import re

from crossan.cache_schema.canonical import sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.segment import FileEntry, SegmentRecord
from crossan.common.files import LARGEST_METADATA
from crossan.common.stores.sharing.buckets import Stored
from crossan.common.stores.sharing.location import Advance, Readable, arrived, in_parallel
from crossan.common.stores.sharing.objects import ObjectRemote

__all__ = ["ObjectLocation"]

_WORKERS = 8
_MD5 = re.compile(r"[0-9a-f]{32}")
"""An ETag of this form is the MD5 of the object; servers that encrypt or stripe give others."""


class ObjectLocation:
    """A store as objects on S3, or on a plain web server to read from.

    Parameters
    ----------
    remote
        The objects.
    is_read_back
        Whether a check reads every object. False compares its size, and its MD5 where the
        server's ETag is one.
    """

    def __init__(self, remote: ObjectRemote, *, is_read_back: bool = False) -> None:
        self._remote, self.url, self.is_read_back = remote, remote.url, is_read_back

    def newest_version(self) -> int:
        """Return the highest version that has a manifest, 0 for none."""
        return self._remote.newest_version()

    def read(self, key: str, largest: int = LARGEST_METADATA) -> bytes | None:
        """Return the bytes of an object, None where there is none."""
        return self._remote.read(key, largest)

    def create(self, key: str, data: bytes) -> bool:
        """Create an object with ``data``.

        True also where an object with exactly these bytes exists, False where it holds others.
        """
        return self._remote.create(key, data)

    def holds(self, segment_id: str) -> bool:
        """Whether the address has the whole segment, whose ``segment.json`` is sent last."""
        return self._remote.read(f"segments/{segment_id}/segment.json") is not None

    def has_part(self, segment_id: str) -> bool:
        """Whether the address has the whole segment: what is there of others is looked at then."""
        return self.holds(segment_id)

    def put_segment(
        self, record: SegmentRecord, data: bytes, source: Readable, advance: Advance
    ) -> int:
        """Send the files that have not arrived yet, ``segment.json`` last."""
        prefix = f"segments/{record.segment_id}/"
        stored = self._remote.listed(prefix)
        unsound = set(self._unsound(record, source, stored))

        def put(entry: FileEntry) -> bool:
            key = prefix + entry.path
            if entry in unsound and key in stored:
                self.replace(key, arrived(source, key, entry))
            elif entry in unsound:
                self._create(key, arrived(source, key, entry))
            advance(entry.size)
            return entry in unsound

        file_count = in_parallel(_WORKERS, put, record.files)
        self._create(f"{prefix}segment.json", data)
        return file_count + 1

    def unsound(self, record: SegmentRecord, source: Readable) -> list[FileEntry]:
        """Return the objects of a segment that are missing or hold other bytes than recorded."""
        return self._unsound(record, source, self._remote.listed(f"segments/{record.segment_id}/"))

    def _unsound(
        self, record: SegmentRecord, source: Readable, stored: dict[str, Stored]
    ) -> list[FileEntry]:
        prefix = f"segments/{record.segment_id}/"
        bad: list[FileEntry] = []

        def look(entry: FileEntry) -> bool:
            key = prefix + entry.path
            size, etag = stored.get(key, (-1, ""))
            is_same = size == entry.size
            if is_same and self.is_read_back:
                is_same = sha256_hex(self.read(key, entry.size) or b"") == entry.sha256
            elif is_same and _MD5.fullmatch(etag):
                ours = arrived(source, key, entry)
                is_same = hashlib.md5(ours, usedforsecurity=False).hexdigest() == etag
            if not is_same:
                bad.append(entry)
            return not is_same

        in_parallel(_WORKERS, look, record.files)
        return [entry for entry in record.files if entry in bad]

    def replace(self, key: str, data: bytes) -> None:
        """Put an object in the place of whatever is there."""
        self._remote.replace(key, data)

    def clear_folders(self) -> list[str]:
        """Return none: an object is in the place of no other."""
        return []

    def settle(self) -> None:
        """Nothing to give up."""

    def _create(self, key: str, data: bytes) -> None:
        if not self.create(key, data):
            raise StoreIntegrityError(
                f"{self.url}/{key}: expected our {len(data):,} bytes, found other bytes"
            )
