"""How the histories of two stores of one fingerprint become one.

The result is the same whoever was first. Two histories that went apart list
segments in two orders, and a compaction mixes rows of many of them. No order of
whole segments need be right for every item, so order does not decide. Each row
does. A segment is *written* once, by a journal, and its rows carry its stamp, which
is higher than every stamp in the version it is added to
(`crossan.cache_schema.segment.new_stamp`). A reader takes of each item the row with
the highest stamp. What then holds, and why:

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
   repetition: locations that know of the same written segments show the same
   winners, whatever was pushed, pulled, compacted and collected in between.
5. *Never older over newer.* Who knew a row wrote the next with a higher stamp.
   Of two writers who did not know of each other the later one wins, as far as
   their clocks agree; everywhere the same one, whether they do or not.

Two rows may have one stamp: their 20 random bits met in the same millisecond, or
they were written before there were stamps. Only the manifest's order decides
between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from crossan.cache_schema.canonical import parse_object
from crossan.cache_schema.errors import StoreIntegrityError, StoreNotFoundError
from crossan.cache_schema.manifest import Manifest, SegmentEntry, version_name
from crossan.cache_schema.segment import Holding
from crossan.common.stores.sharing.locations import Location

__all__ = ["adds_nothing", "follows", "manifest_of", "unite"]

_MOST_FOLLOWED = 10_000
"""Versions that a history is followed back. A server may go on for ever."""
HoldingOf = Callable[[SegmentEntry], Holding]
"""From a segment's entry to what it holds of which written segments."""


def manifest_of(location: Location, version: int) -> Manifest:
    """Read one manifest of the store at a location.

    Raises
    ------
    StoreNotFoundError
        There is no such version.
    StoreIntegrityError, IncompatibleError
        It is damaged, or a newer crossan wrote it.
    """
    key = f"versions/{version_name(version)}"
    data = location.read(key)
    where = f"{location.url}/{key}"
    if data is None and version < (newest := location.newest_version()):
        raise StoreIntegrityError(
            f"{where}: expected a manifest, found nothing, though version {newest} follows it"
        )
    if data is None:
        raise StoreNotFoundError(f"{location.url}: expected version {version}, found no {key}")
    manifest = Manifest.from_dict(parse_object(data, where), where)
    if manifest.version != version:
        raise StoreIntegrityError(f"{where}: expected version {version}, found {manifest.version}")
    return manifest


def follows(location: Location, newest: Manifest | None, last: Manifest) -> list[Manifest] | None:
    """Return the versions that lead from ``newest`` to ``last``, oldest first.

    None where ``last`` does not descend from ``newest``, or only by more versions than are
    worth reading one by one.

    Parameters
    ----------
    location
        Where ``last`` was read.
    newest
        Another store's newest version. None is a store without one, from which
        everything descends.
    last
        The version to reach.
    """
    chain: list[Manifest] = []
    manifest = last
    start = newest.version if newest else 0
    # Versions have no gap, so each manifest's parent is the version with the number before.
    while manifest.version > start:
        chain.append(manifest)
        if manifest.version == 1:
            break
        if len(chain) == _MOST_FOLLOWED:
            return None
        parent = manifest_of(location, manifest.version - 1)
        if parent.digest != manifest.parent:
            raise StoreIntegrityError(
                f"{location.url}/versions/{version_name(manifest.version)}: "
                f"expected the parent {manifest.parent}, "
                f"found {parent.digest}"
            )
        manifest = parent
    # Equal numbers are not enough: two stores may each have made a version of this number.
    if newest is not None and manifest.digest != newest.digest:
        return None
    return chain[::-1]


def unite(
    ours: Sequence[SegmentEntry],
    theirs: Sequence[SegmentEntry],
    holding: HoldingOf,
    *,
    is_theirs_first: bool = False,
) -> tuple[SegmentEntry, ...]:
    """Return our segments and what theirs add to them, in the order of their stamps.

    A segment adds nothing where others hold whole each of the written segments
    that it holds anything of. One of theirs is left out then, and one of ours makes
    room for the one of theirs that has come. A compaction of what was rescued may
    travel once though it adds nothing. Where the whole segment has come back, nobody
    knows the id of what was rescued any more.

    Parameters
    ----------
    ours, theirs
        What the newest version lists, and what another store's does.
    holding
        From a segment to what it holds.
    is_theirs_first
        Whether theirs go before ours of the same stamp, of which the last one wins. Only
        segments from before there were stamps have the same. Theirs replace what they
        gather, or else follow what they followed in their own list, as early as
        possible or as late.
    """
    united = list(ours)
    covered: set[str] = set().union(*(holding(entry).whole for entry in ours))
    for number, entry in enumerate(theirs):
        held = holding(entry)
        if adds_nothing(held, covered):
            continue
        position = _position_of(number, theirs, united, holding, is_theirs_first=is_theirs_first)
        # What this one gathers is whole in it, so no row is lost with the ones that go.
        rest = [
            other for other in united[position:] if not adds_nothing(holding(other), held.whole)
        ]
        united[position:] = [entry, *rest]
        covered |= held.whole
    if united == list(ours):
        return tuple(ours)
    # Sorting is stable: among equal stamps, where the order decides, it keeps the positions above.
    return tuple(sorted(united, key=lambda entry: holding(entry).stamp))


def _position_of(
    number: int,
    theirs: Sequence[SegmentEntry],
    united: Sequence[SegmentEntry],
    holding: HoldingOf,
    *,
    is_theirs_first: bool,
) -> int:
    """Return where in ``united`` the segment ``theirs[number]`` goes."""
    whole = holding(theirs[number]).whole
    for position, other in enumerate(united):
        if adds_nothing(holding(other), whole):
            return position
    # Behind all that came before it in their own list, and before all that came after it.
    earliest = 1 + max(_positions(theirs[:number], united, holding), default=-1)
    latest = min(_positions(theirs[number + 1 :], united, holding), default=len(united))
    return earliest if is_theirs_first else max(earliest, latest)


def adds_nothing(held: Holding, covered: Set[str]) -> bool:
    """Whether a segment that holds this has nothing that ``covered`` lacks.

    ``covered`` are written segments that others hold whole.
    """
    # A segment of what was rescued names one id as whole, its own. That id holds nothing but rows
    # of the segments it was rescued from, so these alone decide.
    is_rescued = len(held.whole) == 1 and bool(held.part)
    return held.whole <= covered or (is_rescued and held.part <= covered)


def _positions(
    entries: Sequence[SegmentEntry], united: Sequence[SegmentEntry], holding: HoldingOf
) -> list[int]:
    """Return the positions in ``united`` that hold anything of what ``entries`` hold."""
    written: set[str] = set().union(*(holding(entry).every for entry in entries))
    return [number for number, other in enumerate(united) if holding(other).every & written]
