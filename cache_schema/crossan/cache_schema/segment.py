"""The record of one immutable segment, which is the content of ``segment.json``.

It names every file of the segment with its size and digests.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crossan.cache_schema.canonical import SCHEMA_VERSION, field_of
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.identity import check_schema_version
from crossan.cache_schema.layout import ARRAY_NAME, LARGEST_COUNT, chunk_number

__all__ = [
    "ARRAY_METADATA",
    "GROUP_METADATA",
    "ITEM_INDEX",
    "FileEntry",
    "SegmentRecord",
    "is_segment_id",
    "is_sha256",
    "new_segment_id",
    "new_stamp",
]

GROUP_METADATA = "zarr.json"
ARRAY_METADATA = f"{ARRAY_NAME}/zarr.json"
ITEM_INDEX = "items.parquet"
_SEGMENT_ID = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CRC = re.compile(r"[0-9a-f]{8}")
_MAX_FILES = 1_000_000  # far above any real segment: bounds what a hostile file makes us build
_LAST_STAMP = 2**63 - 1  # Parquet and NumPy keep stamps as signed 64-bit integers
_CHANCE_BITS = 20


def new_segment_id() -> str:
    """Return a fresh segment id.

    It is made of the time in UTC, which helps people, and of 64 random bits, which
    make it unique.
    """
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(8)}"


def new_stamp(newest: int) -> int:
    """Return a stamp for rows that are written now.

    It is higher than every stamp known so far, whatever the clock says. The upper
    bits are the time in milliseconds, or the tick after that of ``newest`` where
    that is later. The lower 20 bits are random, so that two writers who do not know
    of each other hardly ever get the same stamp.

    Parameters
    ----------
    newest
        The highest stamp of the version that the rows are added to, 0 for none.
    """
    # A clock that runs behind must not give the new row a lower stamp than the row it replaces.
    tick = max(time.time_ns() // 1_000_000, (newest >> _CHANCE_BITS) + 1)
    return min(tick << _CHANCE_BITS | secrets.randbits(_CHANCE_BITS), _LAST_STAMP)


def is_segment_id(text: str) -> bool:
    """Whether ``text`` has the form of a segment id, and so is safe as a folder name."""
    return _SEGMENT_ID.fullmatch(text) is not None


def is_sha256(text: str) -> bool:
    """Whether ``text`` is a SHA-256 in 64 lower-case hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a segment.

    ``path`` is inside the segment and ``size`` is in bytes. Only a chunk has a
    ``crc32c``, that of its payload.
    """

    path: str
    size: int
    sha256: str
    crc32c: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, with the CRC32C as eight hexadecimal digits."""
        value: dict[str, Any] = {"path": self.path, "size": self.size, "sha256": self.sha256}
        return value if self.crc32c is None else {**value, "crc32c": f"{self.crc32c:08x}"}

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str) -> FileEntry:
        """Read the JSON form.

        Raises
        ------
        StoreIntegrityError
            A path that no segment has, a size that no file has, or a digest of another form.
        """
        path = field_of(value, "path", str, where)
        size, sha256 = field_of(value, "size", int, where), field_of(value, "sha256", str, where)
        is_chunk = chunk_number(path) is not None
        # The list of paths is closed, so one such as ../../x never reaches the file system.
        if not is_chunk and path not in {GROUP_METADATA, ARRAY_METADATA, ITEM_INDEX}:
            raise StoreIntegrityError(
                f"{where}: expected a path that a segment has, found {path!r:.80}"
            )
        crc = field_of(value, "crc32c", str, where) if is_chunk else None
        if (
            not 0 <= size <= LARGEST_COUNT
            or not is_sha256(sha256)
            or (crc is not None and not _CRC.fullmatch(crc))
        ):
            raise StoreIntegrityError(
                f"{where}: expected size and digests of {path}, found {value!r:.200}"
            )
        return cls(path, size, sha256, None if crc is None else int(crc, 16))


@dataclass(frozen=True, slots=True)
class Holding:
    """What a segment holds of which written segments.

    A *written* segment came from a journal. A compaction or a repair holds the
    content of several of them.
    """

    whole: frozenset[str]
    """Ids of the written segments that it holds completely."""

    part: frozenset[str] = frozenset()
    """Ids of others, of which it holds what a repair could rescue."""
    stamp: int = 0
    """Stamp of its newest row, 0 where that is not known."""

    def __or__(self, other: Holding) -> Holding:
        """Return what both hold."""
        return Holding(
            self.whole | other.whole, self.part | other.part, max(self.stamp, other.stamp)
        )

    @property
    def every(self) -> frozenset[str]:
        """The segments it holds anything of."""
        return self.whole | self.part


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRecord:
    """The content of ``segment.json``."""

    segment_id: str
    fingerprint: str
    """Fingerprint of the store that it was written for."""

    item_count: int
    """Items it knows, whatever their status."""

    row_count: int
    """Items among them with a row."""

    files: tuple[FileEntry, ...]
    """Every file but ``segment.json`` itself, sorted by path with chunks in their order."""

    producer: Mapping[str, Any] = field(default_factory=dict)
    """Who made it: versions, host kind, seconds. Provenance only; nothing reads it to decide."""

    replaces: tuple[str, ...] = ()
    """Ids of the written segments whose content a compaction has gathered in this one.

    Empty for a written segment.
    """

    rescued: tuple[str, ...] = ()
    """Ids of the written segments of which this one holds what a repair could rescue.

    Mostly empty.
    """

    stamp: int = 0
    """When its rows were written, or the newest of them (see `new_stamp`).

    0 for a segment that was written before there were stamps.
    """

    @property
    def holding(self) -> Holding:
        """What it holds of which written segments."""
        return Holding(
            frozenset(self.replaces or (self.segment_id,)), frozenset(self.rescued), self.stamp
        )

    @property
    def chunks(self) -> tuple[FileEntry, ...]:
        """The chunk files in the order of their rows."""
        return tuple(entry for entry in self.files if entry.crc32c is not None)

    def file(self, path: str) -> FileEntry:
        """Return the entry of one file of the segment.

        `from_dict` makes sure that the metadata files are among them.
        """
        return next(entry for entry in self.files if entry.path == path)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``segment.json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "segment": self.segment_id,
            "fingerprint": self.fingerprint,
            "items": self.item_count,
            "rows": self.row_count,
            "files": [entry.to_dict() for entry in self.files],
            "producer": dict(self.producer),
            "replaces": list(self.replaces),
            "rescued": list(self.rescued),
            "stamp": self.stamp,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str) -> SegmentRecord:
        """Read the content of ``segment.json``.

        Raises
        ------
        IncompatibleError
            A newer schema version wrote it.
        StoreIntegrityError
            It is not the content of a ``segment.json``.
        """
        check_schema_version(value, where)
        listed = field_of(value, "files", list, where)
        if len(listed) > _MAX_FILES or not all(isinstance(entry, dict) for entry in listed):
            raise StoreIntegrityError(
                f"{where}: expected a list of up to {_MAX_FILES:,} files, found {len(listed):,}"
            )
        record = cls(
            segment_id=field_of(value, "segment", str, where),
            fingerprint=field_of(value, "fingerprint", str, where),
            item_count=field_of(value, "items", int, where),
            row_count=field_of(value, "rows", int, where),
            files=tuple(FileEntry.from_dict(entry, where) for entry in listed),
            producer=field_of(value, "producer", dict, where),
            # Segments from before compactions, repairs and stamps lack the last three keys.
            # They are still valid, and none of the three has happened to them.
            replaces=tuple(field_of(value, "replaces", list, where)) if "replaces" in value else (),
            rescued=tuple(field_of(value, "rescued", list, where)) if "rescued" in value else (),
            stamp=field_of(value, "stamp", int, where) if "stamp" in value else 0,
        )
        record._check(where)
        return record

    def _check(self, where: str) -> None:
        if not is_segment_id(self.segment_id):
            raise StoreIntegrityError(
                f"{where}: expected a segment id, found {self.segment_id!r:.80}"
            )
        for name, ids in (("replaces", self.replaces), ("rescued", self.rescued)):
            if not all(isinstance(segment, str) and is_segment_id(segment) for segment in ids):
                raise StoreIntegrityError(
                    f"{where}: expected segment ids in '{name}', found {ids!r:.80}"
                )
        if not 0 <= self.stamp <= _LAST_STAMP:
            raise StoreIntegrityError(
                f"{where}: expected a stamp from 0 to {_LAST_STAMP}, found {self.stamp}"
            )
        if not 0 <= self.row_count <= self.item_count <= LARGEST_COUNT:
            raise StoreIntegrityError(
                f"{where}: expected no more rows than items, "
                f"found {self.row_count!r:.20} rows of {self.item_count!r:.20} items"
            )
        others = sorted(entry.path for entry in self.files if entry.crc32c is None)
        if others != sorted([GROUP_METADATA, ARRAY_METADATA, ITEM_INDEX]):
            raise StoreIntegrityError(
                f"{where}: expected the three metadata files once each, found {others}"
            )
        # Readers find the chunk of a row by division, so a gap would shift every row behind it.
        numbers = [chunk_number(entry.path) for entry in self.chunks]
        if numbers != list(range(len(numbers))):
            raise StoreIntegrityError(
                f"{where}: expected the chunks in order without a gap, found {numbers!r:.80}"
            )
