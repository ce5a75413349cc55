"""The manifest of one version, which is the content of ``versions/000001.json`` and its like.

It lists the segments of the version in order and names the version before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from crossan.cache_schema.canonical import SCHEMA_VERSION, digest_of, field_of
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.identity import check_schema_version
from crossan.cache_schema.segment import is_segment_id, is_sha256

__all__ = ["Manifest", "SegmentEntry", "version_name", "version_number"]

_VERSION_NAME = re.compile(r"([0-9]{6,9})\.json")
_LAST_VERSION = 999_999_999  # more digits have no file name
_MOST_SEGMENTS = 100_000  # two years of a segment each ten minutes, if nobody ever compacts


def version_name(version: int) -> str:
    """Return the file name of a version's manifest, ``000001.json``."""
    return f"{version:06d}.json"


def version_number(name: str) -> int | None:
    """Return the version whose manifest has this file name, None where it is no manifest's name."""
    match = _VERSION_NAME.fullmatch(name)
    if match is None:
        return None
    version = int(match[1])
    # 0000001.json also reads as version 1: only one spelling counts, or a version has two files.
    return version if version > 0 and version_name(version) == name else None


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A version's entry for one segment, its id and the SHA-256 of its ``segment.json``."""

    segment_id: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One version of a store.

    Several of its segments may have a row for an item. The row with the highest
    stamp wins.
    """

    version: int
    """1 for the first."""

    parent: str | None
    """Digest of the version before, None for the first."""

    store_sha256: str
    """SHA-256 of the bytes of ``store.json``."""

    canary_sha256: str
    """SHA-256 of the bytes of ``canary/features.npy``."""

    segments: tuple[SegmentEntry, ...]
    """Oldest first."""

    dropped: tuple[str, ...] = ()
    """Ids of segments that a garbage collection took out.

    A writer that finds its own segment here publishes its rows again.
    """

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of everything but the digest itself."""
        return digest_of(self._content())

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the manifest's file, its own digest included."""
        return {**self._content(), "digest": self.digest}

    def _content(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "version": self.version,
            "parent": self.parent,
            "store_sha256": self.store_sha256,
            "canary_sha256": self.canary_sha256,
            "segments": [
                {"id": entry.segment_id, "sha256": entry.sha256} for entry in self.segments
            ],
            "dropped": list(self.dropped),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str) -> Manifest:
        """Read the content of a manifest's file and check it against its own digest.

        Raises
        ------
        IncompatibleError
            A newer schema version wrote it.
        StoreIntegrityError
            It is not the content of a manifest, or not the one its digest was made of.
        """
        # The digest comes before the schema version: a damaged version number must be reported as
        # damage, and not as a file from the future.
        digest = digest_of({key: value[key] for key in value if key != "digest"})
        if value.get("digest") != digest:
            recorded = f"{value.get('digest')!r:.80}"
            raise StoreIntegrityError(
                f"{where}: expected content with the digest {digest}, found {recorded}"
            )
        check_schema_version(value, where)
        listed = field_of(value, "segments", list, where)
        if len(listed) > _MOST_SEGMENTS:
            raise StoreIntegrityError(
                f"{where}: expected up to {_MOST_SEGMENTS:,} segments, found {len(listed):,}"
            )
        parent = field_of(value, "parent", str, where) if value.get("parent") is not None else None
        manifest = cls(
            version=field_of(value, "version", int, where),
            parent=parent,
            store_sha256=field_of(value, "store_sha256", str, where),
            canary_sha256=field_of(value, "canary_sha256", str, where),
            segments=tuple(_segment_entry(entry, where) for entry in listed),
            dropped=tuple(field_of(value, "dropped", list, where)),
        )
        manifest._check(where)
        # Last, compare the whole content with what we would write. This finds keys that no check
        # above reads.
        if value != manifest.to_dict():
            raise StoreIntegrityError(
                f"{where}: expected the keys {', '.join(manifest.to_dict())}, found others too"
            )
        return manifest

    def _check(self, where: str) -> None:
        if not 1 <= self.version <= _LAST_VERSION:
            raise StoreIntegrityError(
                f"{where}: expected a version from 1 to {_LAST_VERSION:,}, found {self.version}"
            )
        digests = [self.store_sha256, self.canary_sha256, *([self.parent] if self.parent else [])]
        if not all(is_sha256(digest) for digest in digests) or self.parent == "":
            raise StoreIntegrityError(
                f"{where}: expected the SHA-256 of store.json, canary and parent, "
                f"found {digests!r:.250}"
            )
        if not all(isinstance(dropped, str) and is_segment_id(dropped) for dropped in self.dropped):
            raise StoreIntegrityError(
                f"{where}: expected segment ids in 'dropped', found {self.dropped!r:.80}"
            )
        if len({entry.segment_id for entry in self.segments}) != len(self.segments):
            raise StoreIntegrityError(f"{where}: expected every segment once, found one repeated")


def _segment_entry(value: object, where: str) -> SegmentEntry:
    if isinstance(value, dict):
        entry = SegmentEntry(
            field_of(value, "id", str, where), field_of(value, "sha256", str, where)
        )
        if is_segment_id(entry.segment_id) and is_sha256(entry.sha256):
            return entry
    raise StoreIntegrityError(
        f"{where}: expected a segment id and its SHA-256, found {value!r:.120}"
    )
