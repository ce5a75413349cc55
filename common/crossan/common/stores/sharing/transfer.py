"""Moving a store between two locations.

Segments go first and the manifest last, by compare and swap. So a transfer that is cut
off leaves a target that lists nothing that has not arrived.
"""

from __future__ import annotations

from collections.abc import Sequence

from crossan.cache_schema.errors import BusyError, StoreNotFoundError
from crossan.cache_schema.manifest import Manifest
from crossan.common.stores.sharing.lineage import follows, manifest_of
from crossan.common.stores.sharing.locations import FolderLocation, Location
from crossan.common.stores.sharing.mending import mend, require_sound
from crossan.common.stores.sharing.mover import Mover, Transferred
from crossan.common.stores.sharing.strangers import require_one_dataset
from crossan.common.stores.surroundings import is_begun
from crossan.common.stores.versions import Content, list_versions, read_version

__all__ = ["Transferred", "merge", "transfer"]

_MOST_ROUNDS = 100
_REMEDY = (
    "Keep them in two stores, as they are; where the row that was written later is meant to "
    "count for each item, repeat with --allow-other-contents"
)


def transfer(
    source: Location,
    target: Location,
    *,
    version: int | None = None,
    is_source_first: bool = False,
    are_other_contents_allowed: bool = False,
    are_files_checked: bool = True,
) -> Transferred:
    """Bring what a version of ``source`` holds to ``target``.

    Only segments that the target lacks travel, and files that are damaged there.

    Where the source's history continues the target's, its manifests are taken
    as they are, and versions keep their numbers. Where both have gone on, the
    target gets one new version with the segments of both. Of an item that both
    have changed the row that was written later wins, everywhere.

    Parameters
    ----------
    source, target
        Two stores of one fingerprint. The target need not exist.
    version
        Version of the source, None for the newest.
    is_source_first
        Only for stores from before there were stamps, where both have gone on. True lets the
        target's own segments win over the source's (a pull), False the source's (a push).
    are_other_contents_allowed
        Unite stores that are strangers and differ in dataset or contents: of each item the row
        that was written later wins.
    are_files_checked
        Read what the target has of the source's segments, and replace what is damaged. False
        believes that a segment which is there is sound.

    Raises
    ------
    StoreNotFoundError
        The source has no such version, or none at all.
    IncompatibleError
        Another fingerprint, canaries that differ, or strangers of different datasets.
    StoreIntegrityError
        Bytes of the source are not those recorded. Nothing of them is listed at the target.
    """
    requested = _requested(source, version)
    mover = Mover(source, target)
    mover.mended = tuple(mend(source, target, requested, are_files_checked=are_files_checked))
    mover.begin(requested)
    if are_files_checked and target.is_read_back and (listed := _newest(target)):
        mover.bring_lost(listed.segments)
    for _ in range(_MOST_ROUNDS):
        newest = _newest(target)
        if (
            newest is not None
            and _is_ancestor(target, newest, requested)
            and set(requested.segments) <= set(newest.segments)
        ):
            return mover.done(newest.version)
        # A straight continuation keeps the source's manifests and numbers. It is not possible where
        # the target has versions of its own, or where a collection or repair left something out.
        chain = follows(source, newest, requested)
        if chain is None and newest is not None and not are_other_contents_allowed:
            require_one_dataset([(target, newest), (source, requested)], _REMEDY)
        if chain and mover.can_take_all(newest, chain):
            new_version = mover.take_all(chain)
        else:
            new_version = mover.take_united(newest, requested, is_source_first=is_source_first)
        if new_version is not None:
            return mover.done(new_version)
    raise BusyError(
        f"{target.url}: expected to add a version, "
        f"found another process faster {_MOST_ROUNDS} times",
        remedy="Run the same command again",
    )


def merge(
    sources: Sequence[FolderLocation],
    target: FolderLocation,
    *,
    are_other_contents_allowed: bool = False,
) -> Transferred:
    """Make one version of ``target`` that lists the segments of all sources too.

    Of an item that several have, the row that was written later wins. The target
    links to the sources' files where it lies on the same file system.

    Parameters
    ----------
    sources
        Stores of one fingerprint and one dataset.
    target
        Another one, which need not exist.
    are_other_contents_allowed
        As for `transfer`.

    Raises
    ------
    IncompatibleError
        Another fingerprint, canaries that differ, or strangers of different datasets.
    StoreIntegrityError
        A file of a source is damaged. Nothing is changed then.
    """
    movers = [Mover(source, target) for source in sources]
    requested = [_requested(source, None) for source in sources]
    # A store that exists is only compared with here; the target may not be one yet.
    reference = sources[0] if target.read("store.json") is None else target
    for source, manifest in zip(sources, requested, strict=True):
        Mover(source, reference).begin(manifest)
    if not are_other_contents_allowed:
        existing = _newest(target)
        stores = [*zip(sources, requested, strict=True)]
        require_one_dataset([*([(target, existing)] if existing else []), *stores], _REMEDY)
    # All of it before the first file is linked: a merge is done whole, or not begun.
    for source, manifest in zip(sources, requested, strict=True):
        require_sound(source, manifest, target)
    for mover, manifest in zip(movers, requested, strict=True):
        mover.begin(manifest)
    for _ in range(_MOST_ROUNDS):
        newest = _newest(target)
        content = Content(newest.segments, newest.dropped) if newest else Content(())
        for mover, manifest in zip(movers, requested, strict=True):
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
        f"{target.url}: expected to add a version, "
        f"found another process faster {_MOST_ROUNDS} times",
        remedy="Run the same command again",
    )


def _requested(source: Location, version: int | None) -> Manifest:
    folder = source.path if isinstance(source, FolderLocation) else None
    is_lost_or_newest = version is None or (folder is not None and not list_versions(folder))
    if folder is not None and is_begun(folder) and is_lost_or_newest:
        # As a reader: the newest that is left may not be the newest that there was.
        return read_version(folder, version)
    newest = source.newest_version() if version is None else version
    if newest == 0:
        raise StoreNotFoundError(f"{source.url}: expected a store with a version, found none")
    return manifest_of(source, newest)


def _newest(location: Location) -> Manifest | None:
    version = location.newest_version()
    return manifest_of(location, version) if version else None


def _is_ancestor(location: Location, newest: Manifest, manifest: Manifest) -> bool:
    """Whether a manifest is in the history of a location whose newest version is ``newest``."""
    if manifest.version > newest.version:
        return False
    if manifest.version == newest.version:
        return newest.digest == manifest.digest
    return manifest_of(location, manifest.version).digest == manifest.digest
