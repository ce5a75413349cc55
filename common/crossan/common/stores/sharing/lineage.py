"""How the histories of two stores of one fingerprint become one, whoever was first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crossan.cache_schema.canonical import parse_object
from crossan.cache_schema.errors import StoreIntegrityError, StoreNotFoundError
from crossan.cache_schema.manifest import Manifest, SegmentEntry, version_name
from crossan.cache_schema.segment import Holding
from crossan.common.stores.sharing.places import Place

__all__ = ["follows", "manifest_of", "unite"]

Held = Callable[[SegmentEntry], Holding]
"""From a segment to the written segments whose content it holds."""


def manifest_of(place: Place, version: int) -> Manifest:
    """Read one manifest at a place.

    Raises
    ------
    StoreNotFoundError
        There is no such version.
    StoreIntegrityError, IncompatibleError
        It is damaged, or a newer crossan wrote it.
    """
    key = f"versions/{version_name(version)}"
    data = place.read(key)
    where = f"{place.url}/{key}"
    if data is None:
        raise StoreNotFoundError(f"{place.url}: expected version {version}, found no {key}")
    manifest = Manifest.from_dict(parse_object(data, where), where)
    if manifest.version != version:
        raise StoreIntegrityError(f"{where}: expected version {version}, found {manifest.version}")
    return manifest


def follows(place: Place, newest: Manifest | None, last: Manifest) -> list[Manifest] | None:
    """Return the versions after ``newest`` up to ``last`` at a place, None where ``last`` does not descend from it.

    Parameters
    ----------
    place
        Where ``last`` was read.
    newest
        Another store's newest version; None for a store without one, from which everything descends.
    last
        The version to reach.
    """
    chain: list[Manifest] = []
    manifest = last
    start = newest.version if newest else 0
    while manifest.version > start:
        chain.append(manifest)
        if manifest.version == 1:
            manifest = last
            break
        parent = manifest_of(place, manifest.version - 1)
        if parent.digest != manifest.parent:
            raise StoreIntegrityError(
                f"{place.url}/versions/{version_name(manifest.version)}: expected the parent {manifest.parent}, "
                f"found {parent.digest}"
            )
        manifest = parent
    if newest is not None and manifest.digest != newest.digest:
        return None
    return chain[::-1]


def unite(first: Sequence[SegmentEntry], second: Sequence[SegmentEntry], holding: Held) -> tuple[SegmentEntry, ...]:
    """Return the segments of both in an order that keeps the order of each; where that is open, ``second`` comes last.

    What only ``second`` has, and has after everything they share, so wins. A
    segment whose content others of the list hold already, because a compaction
    has gathered it or because it was rescued from one of them, is left out. A
    compaction that gathers segments of ``first`` and others takes its place
    after the first of them, before what the other side added there, and stands
    for those further on; a segment of which only a rescued part was there goes
    before that part, which stands where the segment stood.
    """
    united = list(first)
    covered: set[str] = set().union(*(holding(entry).whole for entry in first))
    for number, entry in enumerate(second):
        held = holding(entry)
        is_rescued = held.whole == {entry.segment_id} and held.part
        if held.whole <= covered or (is_rescued and held.part <= covered):
            continue
        place = _place_for(held, united, second[:number], second[number + 1 :], holding)
        later = [other for other in united[place:] if not holding(other).every <= held.whole]
        united[place:] = [entry, *later]
        covered |= held.whole
    return tuple(united)


def _place_for(
    held: Holding,
    united: Sequence[SegmentEntry],
    before: Sequence[SegmentEntry],
    after: Sequence[SegmentEntry],
    holding: Held,
) -> int:
    """Return where in ``united`` a segment belongs that stands between ``before`` and ``after`` in its own list."""
    present = [holding(entry) for entry in united]
    sharing = [place for place, other in enumerate(present) if other.whole & held.whole]
    if sharing:
        end = sharing[0] + 1
        while end < len(present) and present[end].every & held.every:
            end += 1
        return end
    parts = [place for place, other in enumerate(present) if other.part & held.whole]
    if parts:
        return parts[0]
    origins = [place for place, other in enumerate(present) if other.every & held.part]
    if origins:
        return origins[0] + 1
    earliest = 1 + max(_places_of(before, present, holding), default=-1)
    return max(earliest, min(_places_of(after, present, holding), default=len(united)))


def _places_of(entries: Sequence[SegmentEntry], present: Sequence[Holding], holding: Held) -> list[int]:
    wanted = [holding(entry).every for entry in entries]
    return [place for place, other in enumerate(present) if any(other.every & ids for ids in wanted)]
