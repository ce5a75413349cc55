"""How the histories of two stores of one fingerprint become one, whoever was first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crossan.cache_schema.canonical import parse_object
from crossan.cache_schema.errors import StoreIntegrityError, StoreNotFoundError
from crossan.cache_schema.manifest import Manifest, SegmentEntry, version_name
from crossan.common.stores.sharing.places import Place

__all__ = ["follows", "manifest_of", "unite"]

Sources = Callable[[SegmentEntry], frozenset[str]]
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


def unite(first: Sequence[SegmentEntry], second: Sequence[SegmentEntry], sources: Sources) -> tuple[SegmentEntry, ...]:
    """Return the segments of both in an order that keeps the order of each; where that is open, ``second`` comes last.

    What only ``second`` has, and has after everything they share, so wins. A
    segment whose content others of the list hold already, because a compaction
    has gathered it, is left out; a compaction that gathers segments of ``first``
    and others takes its place after them.
    """
    united = list(first)
    covered: set[str] = set().union(*(sources(entry) for entry in first))
    for place, entry in enumerate(second):
        held = sources(entry)
        if held <= covered:
            continue
        sharing = _sharing(united, held, sources)
        if sharing:
            united.insert(sharing[-1] + 1, entry)
        else:
            later = (_sharing(united, sources(other), sources) for other in second[place + 1 :])
            united.insert(next((found[0] for found in later if found), len(united)), entry)
        covered |= held
    return tuple(united)


def _sharing(entries: Sequence[SegmentEntry], held: frozenset[str], sources: Sources) -> list[int]:
    """Return the places of the segments that hold any of the sources."""
    return [place for place, other in enumerate(entries) if held & sources(other)]
