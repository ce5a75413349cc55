"""Whether a store's files are those that its manifests record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crossan.cache_schema.canonical import parse_object, sha256_hex
from crossan.cache_schema.errors import (
    CrossanError,
    IncompatibleError,
    StoreIntegrityError,
    StoreNotFoundError,
)
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import ArrayLayout
from crossan.cache_schema.manifest import Manifest, SegmentEntry
from crossan.cache_schema.segment import (
    ARRAY_METADATA,
    ITEM_INDEX,
    SegmentRecord,
)
from crossan.common.files import LARGEST_METADATA, require_plain
from crossan.common.kinds_of_files import what_lies_at
from crossan.common.stores.findings import Problem, Report
from crossan.common.stores.folders import CANARY
from crossan.common.stores.item_index import SegmentItems, parse_items
from crossan.common.stores.segments import check_layout
from crossan.common.stores.soundness import find_flaws
from crossan.common.stores.unlisted import lying_segments
from crossan.common.stores.versions import check_chain, list_versions, read_manifest

__all__ = ["Problem", "Report", "fsck", "verify"]

_REMEDY = (
    "Run: crossan cache pull with the address of another copy of the store, "
    "or crossan-extract --repair with the options of the store"
)
_REMEDY_FOR_VALUES = "Run: crossan-extract --repair with the options of the store"
_REMEDY_EXTRA = "Move it out of the store."
_SHOWN_ITEMS = 3


def verify(store: Path | str) -> Report:
    """Check the sizes of all files and the digests of all metadata.

    This takes milliseconds. A flipped bit in a chunk escapes it: see `fsck`.

    Raises
    ------
    StoreNotFoundError
        No store lies there.
    IncompatibleError
        A newer crossan wrote it.
    """
    return _Inspection(Path(store), is_deep=False).run()


def fsck(store: Path | str) -> Report:
    """Check every byte of a store.

    Each file is compared with its SHA-256, and a chunk with its CRC32C too. The hidden
    states of items that are ok must be finite.

    Raises
    ------
    StoreNotFoundError
        No store lies there.
    IncompatibleError
        A newer crossan wrote it.
    """
    return _Inspection(Path(store), is_deep=True).run()


class _Inspection:
    def __init__(self, store: Path, is_deep: bool) -> None:
        self._store, self._is_deep = store, is_deep
        self._problems: list[Problem] = []
        self._bytes_read = 0
        self._item_ids: set[str] = set()

    def run(self) -> Report:
        if not any(
            (self._store / name).exists() for name in ("store.json", "versions", "segments")
        ):
            raise StoreNotFoundError(
                f"no store at {self._store}: expected store.json, found none",
                remedy="Run: crossan cache ls",
            )
        lying = lying_segments(self._store)  # before the manifests, which a writer may add to
        manifests = self._manifests()
        has_whole_history = not self._problems
        newest = manifests[-1] if manifests else None
        identity = self._identity(newest)
        if newest is not None:
            self._read(CANARY, newest.canary_sha256)
        # Segments of older versions may have been collected, or never pulled. Those that lie here
        # must be sound all the same.
        needed = {entry.segment_id for entry in newest.segments} if newest else set()
        listed = {entry.segment_id: entry for manifest in manifests for entry in manifest.segments}
        if has_whole_history:
            self._unlisted_segments(lying.unlisted(manifests).lost)
        for entry in listed.values():
            if entry.segment_id in needed or (self._store / "segments" / entry.segment_id).exists():
                self._segment(entry, identity)
        return Report(
            tuple(self._problems),
            len(self._item_ids),
            len(newest.segments) if newest else 0,
            self._bytes_read,
        )

    def _add(self, code: str, path: Path | str, what: str, remedy: str = _REMEDY) -> None:
        self._problems.append(Problem(code, str(path), what, remedy))

    def _caught(self, path: Path | str, error: CrossanError, code: str = "malformed") -> None:
        self._add(code, path, error.message.removeprefix(f"{path}: "))

    def _read(self, relative: str, sha256: str | None, size: int | None = None) -> bytes | None:
        """Return a file's bytes, None (and a problem) when they are not what is recorded."""
        path = self._stat(relative, size)
        if path is None:
            return None
        largest = LARGEST_METADATA if size is None else max(size, LARGEST_METADATA)
        if path.stat().st_size > largest:
            size_in_words = f"{path.stat().st_size:,}"
            fault = f"expected at most {largest:,} bytes, found {size_in_words}"
            self._add("wrong-size", path, fault)
            return None
        data = path.read_bytes()
        self._bytes_read += len(data)
        if sha256 is not None and sha256_hex(data) != sha256:
            shown = f"SHA-256 {sha256_hex(data)}" if data else "an empty file"
            self._add("wrong-digest", path, f"expected SHA-256 {sha256}, found {shown}")
            return None
        return data

    def _stat(self, relative: str, size: int | None) -> Path | None:
        try:
            path = require_plain(self._store, relative)
        except StoreIntegrityError as error:
            self._add("link", self._store / relative, error.message)
            return None
        if not path.is_file():
            self._add("missing-file", path, f"expected a file, found {what_lies_at(path)}")
            return None
        if size is not None and path.stat().st_size != size:
            self._add("wrong-size", path, f"expected {size:,} bytes, found {path.stat().st_size:,}")
            return None
        return path

    def _manifests(self) -> list[Manifest]:
        manifests = []
        for version in list_versions(self._store):
            path = self._store / "versions" / f"{version:06d}.json"
            try:
                manifests.append(read_manifest(self._store, version))
                self._bytes_read += path.stat().st_size
            except IncompatibleError:
                raise
            except CrossanError as error:
                self._caught(path, error)
        if not self._problems:
            try:
                check_chain(self._store, manifests)
            except StoreIntegrityError as error:
                where, _, what = error.message.partition(": ")
                self._add("broken-chain", where, what)
        return manifests

    def _identity(self, newest: Manifest | None) -> StoreIdentity | None:
        data = self._read("store.json", newest.store_sha256 if newest else None)
        if data is None:
            return None
        path = self._store / "store.json"
        try:
            return StoreIdentity.from_dict(parse_object(data, str(path)), str(path))
        except IncompatibleError:
            raise
        except CrossanError as error:
            self._caught(path, error)
            return None

    def _segment(self, entry: SegmentEntry, identity: StoreIdentity | None) -> None:
        relative = f"segments/{entry.segment_id}"
        data = self._read(f"{relative}/segment.json", entry.sha256)
        if data is None:
            return
        where = f"{self._store / relative}/segment.json"
        try:
            record = SegmentRecord.from_dict(parse_object(data, where), where)
        except IncompatibleError:
            raise
        except CrossanError as error:
            self._caught(where, error)
            return
        if identity is not None and record.fingerprint != identity.fingerprint:
            self._add(
                "malformed",
                where,
                f"expected fingerprint {identity.fingerprint}, found {record.fingerprint}",
            )
        self._contents(relative, record, identity)
        self._unlisted_files(
            self._store / relative, {file.path for file in record.files} | {"segment.json"}
        )

    def _contents(
        self, segment: str, record: SegmentRecord, identity: StoreIdentity | None
    ) -> None:
        items, layout = None, None
        for file in (file for file in record.files if file.crc32c is None):
            data = self._read(f"{segment}/{file.path}", file.sha256, file.size)
            where = str(self._store / segment / file.path)
            try:
                if data is not None and file.path == ITEM_INDEX:
                    items = parse_items(data, record, where)
                    self._item_ids.update(items.item_ids.tolist())
                elif data is not None and file.path == ARRAY_METADATA:
                    claimed = ArrayLayout.from_zarr(parse_object(data, where), where)
                    if identity is not None:
                        check_layout(claimed, record, identity, where)
                        layout = claimed
            except CrossanError as error:
                self._caught(where, error)
        if self._is_deep:
            self._chunks(segment, record, layout, items)
        else:
            for file in record.chunks:
                self._stat(f"{segment}/{file.path}", file.size)

    def _chunks(
        self,
        segment: str,
        record: SegmentRecord,
        layout: ArrayLayout | None,
        items: SegmentItems | None,
    ) -> None:
        flaws = find_flaws(self._store / segment, record, layout)
        for number, file in enumerate(record.chunks):
            flaw = flaws.get(number)
            if flaw is None or flaw.code not in {"link", "missing-file", "wrong-size"}:
                self._bytes_read += file.size
            if flaw is not None:
                named = "" if items is None or not flaw.rows else _first_items(items, flaw.rows)
                remedy = _REMEDY_FOR_VALUES if flaw.rows else _REMEDY
                path = self._store / segment / file.path
                self._add(flaw.code, path, flaw.what + named, remedy)

    def _unlisted_files(self, segment: Path, listed: set[str]) -> None:
        for path in sorted(segment.rglob("*")):
            if not path.is_dir() and path.relative_to(segment).as_posix() not in listed:
                self._add(
                    "unlisted-file",
                    path,
                    "expected only files that segment.json lists",
                    _REMEDY_EXTRA,
                )

    def _unlisted_segments(self, lost: Sequence[str]) -> None:
        """Report a lost newest manifest by segments that no manifest lists."""
        for segment in lost:
            what = (
                "expected every segment in a manifest, found this one in none: "
                "a manifest under versions/ was lost"
            )
            self._add("unlisted-segment", self._store / "segments" / segment, what)


def _first_items(items: SegmentItems, rows: Sequence[int]) -> str:
    item_ids = items.item_ids[np.isin(items.rows, rows)]
    return f", of the items {', '.join(map(str, item_ids[:_SHOWN_ITEMS]))}" + (
        " and others" if len(item_ids) > _SHOWN_ITEMS else ""
    )
