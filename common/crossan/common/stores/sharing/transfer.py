"""Moving a store between two places: segments first, the manifest last, by compare and swap."""

from __future__ import annotations

from collections.abc import Sequence

from crossan.cache_schema.errors import BusyError, StoreNotFoundError
from crossan.cache_schema.manifest import Manifest
from crossan.common.stores.sharing.lineage import follows, manifest_of
from crossan.common.stores.sharing.mover import Mover, Transferred
from crossan.common.stores.sharing.places import FolderPlace, Place
from crossan.common.stores.versions import Content

__all__ = ["Transferred", "merge", "transfer"]

_MOST_ROUNDS = 100


def transfer(
    source: Place, target: Place, *, version: int | None = None, is_source_first: bool = False
) -> Transferred:
    """Bring what a version of ``source`` holds to ``target``; only segments that the target lacks travel.

    Where the source's history continues the target's, its manifests are taken
    as they are, and versions keep their numbers. Where both have gone on, the
    target gets one new version with the segments of both. Of an item that both
    have changed the row that was written later wins, everywhere.

    Parameters
    ----------
    source, target
        Two stores of one fingerprint; the target need not exist.
    version
        Of the source; None for the newest.
    is_source_first
        Only for stores of before there were stamps: whether, where both have gone on, the target's own segments win
        over the source's (a pull), or the other way round (a push).

    Raises
    ------
    StoreNotFoundError
        The source has no such version, or none.
    IncompatibleError
        Another fingerprint, or canaries that differ.
    StoreIntegrityError
        Bytes of the source are not those recorded; nothing of them is listed at the target.
    """
    wanted = _wanted(source, version)
    mover = Mover(source, target)
    mover.begin(wanted)
    for _ in range(_MOST_ROUNDS):
        newest = _newest(target)
        if (
            newest is not None
            and _is_ancestor(target, newest, wanted)
            and set(wanted.segments) <= set(newest.segments)
        ):
            return mover.done(newest.version)
        chain = follows(source, newest, wanted)
        if chain and mover.can_take_all(newest, chain):
            made = mover.take_all(chain)
        else:
            made = mover.take_united(newest, wanted, is_source_first=is_source_first)
        if made is not None:
            return mover.done(made)
    raise BusyError(
        f"{target.url}: expected to add a version, found another process faster {_MOST_ROUNDS} times",
        remedy="Run the same command again.",
    )


def merge(sources: Sequence[FolderPlace], target: FolderPlace) -> Transferred:
    """Make one version of ``target`` that lists the segments of all sources too; a row that was written later wins.

    The target links to the sources' files where it lies on the same file system.

    Raises
    ------
    IncompatibleError
        Another fingerprint, or canaries that differ.
    """
    movers = [Mover(source, target) for source in sources]
    wanted = [_wanted(source, None) for source in sources]
    for mover, manifest in zip(movers, wanted, strict=True):
        mover.begin(manifest)
    for _ in range(_MOST_ROUNDS):
        newest = _newest(target)
        content = Content(newest.segments, newest.dropped) if newest else Content(())
        for mover, manifest in zip(movers, wanted, strict=True):
            content = mover.united(content, manifest, is_source_first=False)
        version = movers[0].commit(newest, content)
        if version is not None:
            target.settle()
            return Transferred(
                version=version,
                segments=sum(mover.segment_count for mover in movers),
                file_count=sum(mover.file_count for mover in movers),
                byte_count=sum(mover.byte_count for mover in movers),
            )
    raise BusyError(
        f"{target.url}: expected to add a version, found another process faster {_MOST_ROUNDS} times",
        remedy="Run the same command again.",
    )


def _wanted(source: Place, version: int | None) -> Manifest:
    found = source.newest_version() if version is None else version
    if found == 0:
        raise StoreNotFoundError(f"{source.url}: expected a store with a version, found none")
    return manifest_of(source, found)


def _newest(place: Place) -> Manifest | None:
    version = place.newest_version()
    return manifest_of(place, version) if version else None


def _is_ancestor(place: Place, newest: Manifest, manifest: Manifest) -> bool:
    if manifest.version > newest.version:
        return False
    at_place = (
        newest if manifest.version == newest.version else manifest_of(place, manifest.version)
    )
    return at_place.digest == manifest.digest
