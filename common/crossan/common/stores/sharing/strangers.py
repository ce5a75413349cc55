"""Whether two stores hold the same items, before their segments become one version.

Two stores of one fingerprint hold comparable numbers, and may be of different datasets
all the same: an id then names another item in each, and the row that was written later
would hide the other. Histories that share a written segment belong together: who
changed an item knew what was there, or a teammate changed it meanwhile, and the later
row wins as it does everywhere (`crossan.common.stores.sharing.lineage`). Histories that
share none are *strangers*. They may be the parts of one batch job, and then agree in the
contents of all the items that both have.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

from crossan.cache_schema.errors import IncompatibleError
from crossan.cache_schema.manifest import Manifest
from crossan.cache_schema.segment import SegmentRecord
from crossan.common.console import note
from crossan.common.files import LARGEST_METADATA
from crossan.common.stores.item_index import parse_items
from crossan.common.stores.provenance import origins_of
from crossan.common.stores.segments import read_index, read_record
from crossan.common.stores.sharing.location import Location

__all__ = ["require_one_dataset"]

_SHOWN = 3


def require_one_dataset(stores: Sequence[tuple[Location, Manifest]], remedy: str) -> None:
    """Refuse to unite stores of different datasets.

    Strangers must not record different names of datasets, nor other contents of an item
    that several have. Of histories that belong together, items that both sides changed
    are said.

    Parameters
    ----------
    stores
        The target first, each with the version that is united.
    remedy
        What to do where it is meant.

    Raises
    ------
    IncompatibleError
        The datasets differ. The message counts the items and names the first.
    StoreIntegrityError
        A file of a segment is damaged.
    """
    listed = [_Listed(location, manifest) for location, manifest in stores]
    has_strangers = any(not a.written & b.written for a, b in combinations(listed, 2))
    seen: dict[str, tuple[str, int]] = {}  # from an item to its digest, and the store that has it
    for number, store in enumerate(listed):
        strangers = {n for n in range(number) if not listed[n].written & store.written}
        for earlier in range(number):
            if earlier in strangers:
                _require_one_name(listed[earlier], store, remedy)
            else:
                _say_changed_twice(listed[earlier], store)
        contents = store.contents(frozenset()) if has_strangers else {}
        differing = {
            item_id: seen[item_id][1]
            for item_id, digest in contents.items()
            if item_id in seen and seen[item_id][0] != digest and seen[item_id][1] in strangers
        }
        if differing:
            raise _other_contents(listed[min(differing.values())], store, sorted(differing), remedy)
        for item_id, digest in contents.items():
            seen.setdefault(item_id, (digest, number))


class _Listed:
    """One version of a store, its segments read as far as they are asked for."""

    def __init__(self, location: Location, manifest: Manifest) -> None:
        self.location, self._manifest = location, manifest

    @cached_property
    def records(self) -> list[SegmentRecord]:
        return [
            read_record(self._read, entry, self.location.url) for entry in self._manifest.segments
        ]

    @cached_property
    def written(self) -> frozenset[str]:
        """Ids of the written segments that it holds anything of."""
        return frozenset().union(*(record.holding.every for record in self.records))

    @cached_property
    def names(self) -> set[str]:
        """Names of the datasets that its producers recorded."""
        origins = [origin for record in self.records for origin in origins_of(record.producer)]
        return {str(origin["dataset"]) for origin in origins if origin.get("dataset")}

    def contents(self, known: frozenset[str]) -> dict[str, str]:
        """Return the newest content digest of each item in segments that hold something new.

        Items without a digest are left out: absent and missing media, and imported features.

        Parameters
        ----------
        known
            Ids of written segments that the other store has too.
        """
        newest: dict[str, tuple[int, str | None]] = {}
        for record in self.records:
            if record.holding.every <= known:
                continue
            data = read_index(self._read, record, self.location.url)
            items = parse_items(data, record, f"{self.location.url}/segments/{record.segment_id}")
            digests = items.texts("content_digest")
            for item_id, stamp, digest in zip(
                items.item_ids.tolist(), items.stamps.tolist(), digests, strict=True
            ):
                if stamp >= newest.get(item_id, (0, None))[0]:
                    newest[item_id] = (stamp, digest)
        return {item_id: digest for item_id, (_, digest) in newest.items() if digest is not None}

    def _read(self, key: str, largest: int = LARGEST_METADATA, /) -> bytes:
        return self.location.read(key, largest) or b""


def _require_one_name(ours: _Listed, theirs: _Listed, remedy: str) -> None:
    if ours.names and theirs.names and not ours.names & theirs.names:
        raise IncompatibleError(
            f"{ours.location.url} and {theirs.location.url}: expected stores of one dataset, "
            f"found {', '.join(sorted(ours.names))} and {', '.join(sorted(theirs.names))}",
            remedy=remedy,
        )


def _say_changed_twice(ours: _Listed, theirs: _Listed) -> None:
    our_digests, their_digests = ours.contents(theirs.written), theirs.contents(ours.written)
    common_items = our_digests.keys() & their_digests.keys()
    differing = sorted(item for item in common_items if our_digests[item] != their_digests[item])
    if differing:
        note(
            f"{len(differing):,} items were changed both in {ours.location.url} and in "
            f"{theirs.location.url}: the row that was written later counts, "
            f"first: {', '.join(differing[:_SHOWN])}"
        )


def _other_contents(
    ours: _Listed, theirs: _Listed, differing: list[str], remedy: str
) -> IncompatibleError:
    both = len(ours.contents(frozenset()).keys() & theirs.contents(frozenset()).keys())
    return IncompatibleError(
        f"{ours.location.url} and {theirs.location.url}: expected stores of one dataset, found "
        f"other contents in {len(differing):,} of the {both:,} items that both have, "
        f"first: {', '.join(differing[:_SHOWN])}",
        remedy=remedy,
    )
