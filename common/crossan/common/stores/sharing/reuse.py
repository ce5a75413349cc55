"""Taking rows that a teammate has computed already, item by item, told by the content of the media."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from crossan.cache_schema.canonical import parse_object
from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, StoreNotFoundError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import CRC_BYTES
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores.chunks import check_chunk, decode_chunk
from crossan.common.stores.index import NOWHERE, StoreIndex
from crossan.common.stores.journal import ItemRow
from crossan.common.stores.segments import Segment, read_segment
from crossan.common.stores.sharing.lineage import manifest_of
from crossan.common.stores.sharing.places import Place, place_at

__all__ = ["Donor"]


class Donor:
    """The newest version of a store elsewhere, read a chunk at a time; get one from `Donor.open`."""

    def __init__(self, place: Place, segments: list[Segment]) -> None:
        self._place = place
        self._chunks = [
            (segment, number)
            for segment in segments
            for number in range(segment.layout.chunk_count)
        ]
        self._index = StoreIndex(segments)

    @classmethod
    def open(cls, address: str, inside: str, identity: StoreIdentity) -> Donor:
        """Open the store at an address, or the store of that name in the cache there.

        Parameters
        ----------
        address
            A folder, ``s3://`` or ``https://``: of a store, or of a cache.
        inside
            Path of the store inside a cache, ``dataset/modality/name``.
        identity
            Of the store to be filled.

        Raises
        ------
        StoreNotFoundError
            Neither lies there.
        IncompatibleError
            A store of another fingerprint.
        """
        address = address.rstrip("/")
        for candidate in (address, f"{address}/{inside}"):
            place = place_at(candidate)
            data = place.read("store.json")
            if data is not None:
                break
        else:
            raise StoreNotFoundError(
                f"--reuse {address}: expected a store, or a cache with {inside}, found neither"
            )
        found = StoreIdentity.from_dict(
            parse_object(data, f"{place.url}/store.json"), f"{place.url}/store.json"
        )
        if found.fingerprint != identity.fingerprint:
            raise IncompatibleError(
                f"--reuse {place.url}: expected a store of the fingerprint {identity.fingerprint[:12]}, "
                f"found {found.fingerprint[:12]}",
                remedy="Leave --reuse out, or repeat the options that the store there was begun with.",
            )
        version = place.newest_version()
        if not version:
            raise StoreNotFoundError(f"--reuse {place.url}: expected a version, found none")

        def read(key: str) -> bytes:
            return _read(place, key)

        entries = manifest_of(place, version).segments
        return cls(place, [read_segment(Path(place.url), entry, found, read) for entry in entries])

    def rows(self, wanted: Mapping[str, list[str]]) -> Iterator[list[ItemRow]]:
        """Yield the rows of the items that the store holds, those of one chunk at a time.

        Parameters
        ----------
        wanted
            From a content digest to the ids of the items that have it.

        Raises
        ------
        StoreIntegrityError
            A chunk does not arrive as it is recorded.
        """
        chosen: dict[str, int] = {}
        for place, digest in enumerate(self._index.texts("content_digest")):
            if digest is not None and digest in wanted and self._index.chunk_of[place] != NOWHERE:
                chosen.setdefault(digest, place)
        places = np.array(list(chosen.values()), dtype=np.int64)
        digests = list(chosen)
        chunk_of = self._index.chunk_of[places]
        for number in np.unique(chunk_of).tolist():
            rows = self._chunk(number)
            batch = []
            for which in np.flatnonzero(chunk_of == number).tolist():
                row = rows[self._index.place_of[places[which]]]
                digest = digests[which]
                batch += [
                    ItemRow(item_id, digest, ItemStatus.OK, None, row) for item_id in wanted[digest]
                ]
            yield batch

    def _chunk(self, number: int) -> np.ndarray:
        segment, inner = self._chunks[number]
        entry = segment.record.chunks[inner]
        data = _read(self._place, f"segments/{segment.record.segment_id}/{entry.path}")
        path = segment.path / entry.path
        if len(data) != entry.size or len(data) <= CRC_BYTES:
            raise StoreIntegrityError(f"{path}: expected {entry.size:,} bytes, found {len(data):,}")
        check_chunk(memoryview(data)[:-CRC_BYTES], data[-CRC_BYTES:], entry, path)
        return decode_chunk(data, segment.layout, path)


def _read(place: Place, key: str) -> bytes:
    data = place.read(key)
    if data is None:
        raise StoreIntegrityError(f"{place.url}/{key}: expected a file, found nothing")
    return data
