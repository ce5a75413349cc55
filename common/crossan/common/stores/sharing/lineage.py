"""How the histories of two stores of one fingerprint become one, whoever was first.

Two histories that went apart list segments in two orders, and a compaction mixes
rows of many of them: no order of whole segments need be right for every item.
So order does not decide; each row does. A segment is *written* once, by a
journal, and its rows carry its stamp, which is higher than every stamp in the
version it is added to (`crossan.cache_schema.segment.new_stamp`). A reader takes
of each item the row with the highest stamp. What then holds, and why:

1. *Stamps stay.* Whatever copies a row (a compaction, a repair, a push under
   another id) copies its stamp.
2. *Whole means superseded.* If a segment names a written segment as held whole,
   it has for each of that one's items its row or one of a higher stamp: true of
   the written segment itself; of a compaction, as it keeps the highest stamp of
   each item and names what those it gathers name. What was rescued of a damaged
   segment is named apart, and by its own id: rows are missing from it.
3. *Uniting loses nothing.* `unite` leaves a segment out only where others hold
   whole all that it has anything of; by 2 none of its rows is the highest, or
   the same row is still there. So the winner of each item is the highest of all
   rows on either side.
4. *The same everywhere.* The highest of a set depends on no order, grouping or
   repetition: places that know of the same written segments show the same
   winners, whatever was pushed, pulled, compacted and collected in between.
5. *Never older over newer.* Who knew a row wrote the next with a higher stamp.
   Of two writers who did not know of each other the later one wins, as far as
   their clocks agree; everywhere the same one, whether they do or not.

Two rows of one stamp, whose 20 random bits met in the same millisecond, or which
were written before there were stamps, are told by the manifest's order alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from crossan.cache_schema.canonical import parse_object
from crossan.cache_schema.errors import StoreIntegrityError, StoreNotFoundError
from crossan.cache_schema.manifest import Manifest, SegmentEntry, version_name
from crossan.cache_schema.segment import Holding
from crossan.common.stores.sharing.places import Place

__all__ = ["adds_nothing", "follows", "manifest_of", "unite"]

Held = Callable[[SegmentEntry], Holding]
"""From a segment to the written segments whose content it holds, and the stamp of its newest row."""


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


def unite(
    ours: Sequence[SegmentEntry],
    theirs: Sequence[SegmentEntry],
    holding: Held,
    *,
    is_theirs_first: bool = False,
) -> tuple[SegmentEntry, ...]:
    """Return our segments and what theirs add to them, in the order of their stamps.

    A segment adds nothing where others hold whole each of the written segments
    that it holds anything of: theirs is left out then, and ours makes room for
    theirs that has come. A compaction of what was rescued may travel once though
    it adds nothing: where the whole segment has come back, nobody knows the id of
    what was rescued any more.

    Parameters
    ----------
    ours, theirs
        What the newest version lists, and what another store's does.
    holding
        From a segment to what it holds.
    is_theirs_first
        Where theirs go among ours of the same stamp, which is so only for segments of before there were stamps, where
        the last one wins: in the place of what they gather, or else behind what they followed in their own list,
        as early as can be or as late.
    """
    united = list(ours)
    covered: set[str] = set().union(*(holding(entry).whole for entry in ours))
    for number, entry in enumerate(theirs):
        held = holding(entry)
        if adds_nothing(held, covered):
            continue
        gathered = [
            place for place, other in enumerate(united) if adds_nothing(holding(other), held.whole)
        ]
        earliest = 1 + max(_places_of(theirs[:number], united, holding), default=-1)
        latest = max(
            earliest, min(_places_of(theirs[number + 1 :], united, holding), default=len(united))
        )
        place = gathered[0] if gathered else earliest if is_theirs_first else latest
        later = [other for other in united[place:] if not adds_nothing(holding(other), held.whole)]
        united[place:] = [entry, *later]
        covered |= held.whole
    if united == list(ours):
        return tuple(ours)
    return tuple(sorted(united, key=lambda entry: holding(entry).stamp))


def adds_nothing(held: Holding, covered: Set[str]) -> bool:
    """Whether a segment that holds this has no row that is newer than what ``covered``, held whole, gives."""
    is_rescued = (
        len(held.whole) == 1 and held.part
    )  # its own id says nothing that the ids it was rescued from do not
    return held.whole <= covered or bool(is_rescued and held.part <= covered)


def _places_of(
    entries: Sequence[SegmentEntry], united: Sequence[SegmentEntry], holding: Held
) -> list[int]:
    wanted: set[str] = set().union(*(holding(entry).every for entry in entries))
    return [place for place, other in enumerate(united) if holding(other).every & wanted]
