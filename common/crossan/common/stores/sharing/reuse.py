"""Taking rows that a teammate has computed already.

Items are matched one by one, by the content of their media.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from crossan.cache_schema.canonical import parse_object
from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, StoreNotFoundError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus
from crossan.common.files import LARGEST_METADATA
from crossan.common.stores.chunks import decode_chunk
from crossan.common.stores.folders import find_stores
from crossan.common.stores.index import NOWHERE, StoreIndex
from crossan.common.stores.journal import ItemRow
from crossan.common.stores.segments import Segment, read_segment
from crossan.common.stores.sharing.lineage import manifest_of
from crossan.common.stores.sharing.location import arrived
from crossan.common.stores.sharing.locations import Location, location_of
from crossan.common.stores.soundness import require_finite

__all__ = ["Donor"]


class Donor:
    """The newest version of a store elsewhere, read a chunk at a time.

    Get one from `Donor.find_all`.
    """

    def __init__(self, location: Location, segments: list[Segment]) -> None:
        self._location = location
        self._chunks = [
            (segment, number)
            for segment in segments
            for number in range(segment.layout.chunk_count)
        ]
        self._index = StoreIndex(segments)

    @classmethod
    def find_all(cls, address: str, inside: str, identity: StoreIdentity) -> list[Donor]:
        """Open the store at an address, or those of the same fingerprint in the cache at it.

        Parameters
        ----------
        address
            A folder, ``s3://`` or ``https://`` address of a store or of a cache.
        inside
            Path of the store inside a cache, ``dataset/modality/name``. It comes first;
            stores of other datasets follow, but for a web server, which lists nothing.
        identity
            Identity of the store to be filled.

        Raises
        ------
        StoreNotFoundError
            There is no such store at the address, or none with a version.
        IncompatibleError
            A store of another fingerprint.
        """
        address = address.rstrip("/")
        # The address itself comes first: a cache has no store.json of its own.
        if location_of(address).read("store.json") is not None:
            stores = [address]
        else:
            paths = dict.fromkeys([inside, *_paths_in(address, identity)])
            stores = [f"{address}/{path}" for path in paths]
            stores = [store for store in stores if location_of(store).read("store.json")]
        if not stores:
            raise StoreNotFoundError(
                f"--reuse {address}: expected a store, or a cache with {inside} or another "
                f"{identity.modality.value} store of the fingerprint "
                f"{identity.fingerprint[:12]}, found neither"
            )
        donors = [cls._open(location_of(store), identity) for store in stores]
        whole = [donor for donor in donors if donor is not None]
        if not whole:
            raise StoreNotFoundError(
                f"--reuse {address}: expected a version in {', '.join(stores)}, found none"
            )
        return whole

    @classmethod
    def _open(cls, location: Location, identity: StoreIdentity) -> Donor | None:
        """Open one store, None where it has no version yet."""
        where = f"{location.url}/store.json"
        recorded = StoreIdentity.from_dict(
            parse_object(_read(location, "store.json", LARGEST_METADATA), where), where
        )
        # Equal fingerprints are what makes a row from there equal to one computed here.
        if recorded.fingerprint != identity.fingerprint:
            raise IncompatibleError(
                f"--reuse {location.url}: expected a store of the fingerprint "
                f"{identity.fingerprint[:12]}, found {recorded.fingerprint[:12]}",
                remedy="Leave --reuse out, or repeat the options that its store was begun with",
            )
        version = location.newest_version()
        if not version:
            return None

        def read(key: str, largest: int = LARGEST_METADATA) -> bytes:
            return _read(location, key, largest)

        path = Path(location.url)
        entries = manifest_of(location, version).segments
        return cls(location, [read_segment(path, entry, recorded, read) for entry in entries])

    def rows(self, items_of: Mapping[str, list[str]]) -> Iterator[list[ItemRow]]:
        """Yield the rows of the items that the store holds, those of one chunk at a time.

        Parameters
        ----------
        items_of
            From a content digest to the ids of the items that have it.

        Raises
        ------
        StoreIntegrityError
            A chunk does not arrive as it is recorded.
        """
        donors: dict[str, int] = {}  # from a content digest to an item of the store with a row
        for item, digest in enumerate(self._index.texts("content_digest")):
            has_row = self._index.chunk_of[item] != NOWHERE
            if digest is not None and digest in items_of and has_row:
                donors.setdefault(digest, item)
        digests = list(donors)
        donor_items = np.array(list(donors.values()), dtype=np.int64)
        chunk_of = self._index.chunk_of[donor_items]
        # Chunk by chunk, so that each travels once however many of its rows are taken.
        for number in np.unique(chunk_of).tolist():
            rows = self._chunk(number)
            batch = []
            for position in np.flatnonzero(chunk_of == number).tolist():
                row = rows[self._index.place_of[donor_items[position]]]
                digest = digests[position]
                batch += [
                    ItemRow(item_id, digest, ItemStatus.OK, None, row)
                    for item_id in items_of[digest]
                ]
            yield batch

    def _chunk(self, number: int) -> np.ndarray:
        segment, inner = self._chunks[number]
        entry = segment.record.chunks[inner]
        key = f"segments/{segment.record.segment_id}/{entry.path}"
        where = segment.path / entry.path
        rows = decode_chunk(arrived(self._location, key, entry), segment.layout, where)
        first = inner * segment.layout.chunk_items
        written = rows[: max(0, segment.layout.item_count - first)]
        require_finite(written, segment.layout.stored_dtype, str(where))
        return rows


def _paths_in(cache: str, identity: StoreIdentity) -> list[str]:
    """Return the stores of a cache that can have the fingerprint, ``dataset/modality/name``."""
    modality, ending = identity.modality, f"-{identity.fingerprint[:12]}"
    if "://" not in cache:
        paths = [str(path.relative_to(cache)) for path in find_stores(cache, modality=modality)]
    else:
        # Two lists for each dataset, and not one of every chunk that there is.
        from crossan.common.stores.sharing.objects import ObjectRemote

        remote = ObjectRemote.open(cache)
        paths = [
            f"{dataset}/{modality.value}/{name}"
            for dataset in remote.folders()
            for name in remote.folders(f"{dataset}/{modality.value}/")
        ]
    return [path for path in paths if path.endswith(ending)]


def _read(location: Location, key: str, largest: int) -> bytes:
    data = location.read(key, largest)
    if data is None:
        raise StoreIntegrityError(f"{location.url}/{key}: expected a file, found nothing")
    return data
