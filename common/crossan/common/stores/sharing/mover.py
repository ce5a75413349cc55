"""What travels between one source and one target, and the version that results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.canonical import parse_object, pretty_bytes, sha256_hex
from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.manifest import Manifest, SegmentEntry, version_name
from crossan.cache_schema.segment import SegmentRecord, new_segment_id
from crossan.common.console import note, progress
from crossan.common.files import LARGEST_METADATA
from crossan.common.stores.canary import check_canary, parse_canary
from crossan.common.stores.folders import CANARY
from crossan.common.stores.segments import read_record
from crossan.common.stores.sharing.lineage import adds_nothing, unite
from crossan.common.stores.sharing.locations import Location, Readable
from crossan.common.stores.versions import Content, next_manifest

__all__ = ["Mover", "Transferred"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """What a transfer did."""

    version: int
    """The target's version that holds everything."""
    segments: int
    """Segments that travelled."""
    file_count: int
    """Files of them that travelled now.

    What had arrived when an earlier transfer was cut off is not counted.
    """
    byte_count: int
    mended: tuple[str, ...] = ()
    """Paths inside the store of files that were damaged at the target and are whole again."""


class Mover:
    """One source and one target, and what has travelled between them."""

    def __init__(self, source: Location, target: Location) -> None:
        self._source, self._target = source, target
        self.segment_count = self.file_count = self.byte_count = 0
        self.mended: tuple[str, ...] = ()
        self._renamed: dict[SegmentEntry, SegmentEntry] = {}
        self._records: dict[SegmentEntry, tuple[SegmentRecord, bytes]] = {}

    def done(self, version: int) -> Transferred:
        """Give up the claims and return what travelled."""
        self._target.settle()
        return Transferred(
            version=version,
            segments=self.segment_count,
            file_count=self.file_count,
            byte_count=self.byte_count,
            mended=self.mended,
        )

    def begin(self, requested: Manifest) -> None:
        """Begin the target with the source's identity and canary, or check that it has the same."""
        store = _checked(self._source, "store.json", requested.store_sha256)
        canary = _checked(self._source, CANARY, requested.canary_sha256)
        existing = self._target.read("store.json")
        if existing is None:
            # The canary goes first: a store with a store.json is whole.
            self._target.create(CANARY, canary)
            self._target.create("store.json", store)
            # Another process may have begun the target meanwhile, so what it has now is read.
            existing = self._target.read("store.json") or b""
        if existing == store and self._target.read(CANARY) == canary:
            return
        ours, theirs = _identity(store, self._source), _identity(existing, self._target)
        if ours.fingerprint != theirs.fingerprint:
            raise IncompatibleError(
                f"{self._target.url}: expected a store of the fingerprint {ours.fingerprint[:12]}, "
                f"found {theirs.fingerprint[:12]}",
                remedy=f"Run: crossan cache diff {self._source.url} {self._target.url}",
            )
        check_canary(
            _canary(self._target, self._target.read(CANARY) or b"", theirs),
            _canary(self._source, canary, ours),
            compute_dtype=str(ours.capture.get("compute_dtype")),
            where=self._target.url,
        )

    def bring_lost(self, listed: Sequence[SegmentEntry]) -> None:
        """Copy the segments of which nothing is left at the target, though it lists them."""
        for entry in listed:
            if not self._target.has_part(entry.segment_id):
                if self._source.holds(entry.segment_id):
                    self._put(*self._record(entry), self._source)
                else:
                    note(
                        f"{self._target.url}: segment {entry.segment_id} is gone, and"
                        f" {self._source.url} does not have it"
                    )

    def can_take_all(self, newest: Manifest | None, chain: Sequence[Manifest]) -> bool:
        """Whether the target can have exactly these manifests.

        It can where identity and canary are the same, nothing of them was collected, and
        nothing that the target lists would be lost.
        """
        last = chain[-1]
        if sha256_hex(self._target.read("store.json") or b"") != last.store_sha256:
            return False
        if sha256_hex(self._target.read(CANARY) or b"") != last.canary_sha256:
            return False
        left_out = set(newest.segments if newest else ()) - set(last.segments)
        covered = self._held(last.segments if left_out else ())
        if not all(adds_nothing(self._record(entry)[0].holding, covered) for entry in left_out):
            # A repair at the source has left out what is sound here.
            return False
        listed = {entry for manifest in chain for entry in manifest.segments} - set(last.segments)
        return not any(entry.segment_id in last.dropped for entry in listed) and all(
            self._target.holds(entry.segment_id) or self._source.holds(entry.segment_id)
            for entry in listed
        )

    def take_all(self, chain: Sequence[Manifest]) -> int | None:
        """Copy what the versions list, then their manifests.

        None where another process made one of the versions first.
        """
        self._bring([entry for manifest in chain for entry in manifest.segments])
        # A manifest may only appear once all that it lists has arrived, and after its parent.
        for manifest in chain:
            if not self._target.create(
                f"versions/{version_name(manifest.version)}", pretty_bytes(manifest.to_dict())
            ):
                return None
        return chain[-1].version

    def take_united(
        self, newest: Manifest | None, requested: Manifest, *, is_source_first: bool
    ) -> int | None:
        """Copy what the target lacks and make one version of both.

        None where another process was faster.
        """
        before = Content(newest.segments, newest.dropped) if newest else Content(())
        content = self.united(before, requested, is_source_first=is_source_first)
        return self.commit(newest, content)

    def united(self, before: Content, requested: Manifest, *, is_source_first: bool) -> Content:
        """Bring the missing segments and return what the next version lists."""
        united = unite(
            before.segments,
            requested.segments,
            lambda entry: self._record(entry)[0].holding,
            is_theirs_first=is_source_first,
        )
        # An id that was dropped once is never listed again: a writer that sees it among the dropped
        # publishes its rows anew. What comes back travels under a new id.
        for entry in united:
            if entry.segment_id in before.dropped and entry not in self._renamed:
                self._renamed[entry] = self._put_renamed(entry)
        self._bring([entry for entry in united if entry not in before.segments])
        return Content(tuple(self._renamed.get(entry, entry) for entry in united), before.dropped)

    def commit(self, newest: Manifest | None, content: Content) -> int | None:
        """Create the next manifest, if there is anything new to list.

        None where another process was faster.
        """
        if newest is not None and content.segments == newest.segments:
            return newest.version
        store, canary = self._target.read("store.json") or b"", self._target.read(CANARY) or b""
        manifest = next_manifest(
            newest, content, store_sha256=sha256_hex(store), canary_sha256=sha256_hex(canary)
        )
        if not all(self._target.holds(entry.segment_id) for entry in content.segments):
            # A collection at the target has taken a segment meanwhile, so the caller looks again.
            return None
        key = f"versions/{version_name(manifest.version)}"
        is_ours = self._target.create(key, pretty_bytes(manifest.to_dict()))
        return manifest.version if is_ours else None

    def _held(self, entries: Sequence[SegmentEntry]) -> set[str]:
        """Return the written segments whose content the entries hold."""
        return set().union(*(self._record(entry)[0].holding.whole for entry in entries))

    def _put_renamed(self, entry: SegmentEntry) -> SegmentEntry:
        """Put a segment of the source under a new id, and return its new entry."""
        record, _ = self._record(entry)
        content = {
            **record.to_dict(),
            "segment": new_segment_id(),
            "replaces": sorted(record.holding.whole),
        }
        renamed = SegmentRecord.from_dict(content, "segment.json")
        data = pretty_bytes(renamed.to_dict())
        self._put(renamed, data, _Renamed(self._source, entry.segment_id, renamed.segment_id))
        return SegmentEntry(renamed.segment_id, sha256_hex(data))

    def _bring(self, entries: Sequence[SegmentEntry]) -> None:
        for entry in dict.fromkeys(entries):
            if entry not in self._renamed and not self._target.holds(entry.segment_id):
                self._put(*self._record(entry), self._source)

    def _put(self, record: SegmentRecord, data: bytes, source: Readable) -> None:
        byte_count = sum(entry.size for entry in record.files)
        with progress(f"{record.segment_id} to {self._target.url}", byte_count, "bytes") as shown:
            self.file_count += self._target.put_segment(record, data, source, shown.advance)
        self.segment_count += 1
        self.byte_count += byte_count

    def _record(self, entry: SegmentEntry) -> tuple[SegmentRecord, bytes]:
        """Return the content of a segment's ``segment.json``, and its bytes.

        They are read from whichever location has the segment.
        """
        if entry not in self._records:
            key = f"segments/{entry.segment_id}/segment.json"
            holder = self._target if self._target.read(key) is not None else self._source
            data = holder.read(key)
            if data is None:
                raise StoreIntegrityError(f"{holder.url}/{key}: expected a file, found nothing")
            self._records[entry] = read_record(lambda _: data, entry, holder.url), data
        return self._records[entry]


@dataclass(frozen=True, slots=True)
class _Renamed:
    """A location that shows one of its segments under another id."""

    location: Readable
    segment_id: str
    shown_as: str

    @property
    def url(self) -> str:
        return self.location.url

    def read(self, key: str, largest: int = LARGEST_METADATA) -> bytes | None:
        return self.location.read(key.replace(self.shown_as, self.segment_id, 1), largest)


def _checked(location: Location, key: str, sha256: str) -> bytes:
    data = location.read(key)
    if data is None or sha256_hex(data) != sha256:
        actual = "no such file" if data is None else sha256_hex(data)
        raise StoreIntegrityError(
            f"{location.url}/{key}: expected SHA-256 {sha256}, found {actual}"
        )
    return data


def _identity(data: bytes, location: Location) -> StoreIdentity:
    where = f"{location.url}/store.json"
    return StoreIdentity.from_dict(parse_object(data, where), where)


def _canary(location: Location, data: bytes, identity: StoreIdentity) -> npt.NDArray[np.float32]:
    return parse_canary(data, identity, f"{location.url}/{CANARY}")
