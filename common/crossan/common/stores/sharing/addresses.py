"""Which store a path or an address names, where a command may be given that of a cache.

The rule: an address that ends in a slash is a cache, in which a store keeps its place
``DATASET/MODALITY/NAME``. Any other is the store itself: one that is there, or a new one
where nothing is. What is neither is refused, and so is what lies in a cache elsewhere than
at a store's place: no store is ever written into a cache beside the stores there, nor into
another store, a run or a dataset.
"""

from __future__ import annotations

import os
from pathlib import Path

from crossan.cache_schema.errors import RemoteError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.refusals import require_no_file
from crossan.common.stores.folders import find_stores
from crossan.common.stores.sharing.objects import ObjectRemote
from crossan.common.stores.surroundings import (
    cache_around,
    require_outside_of_others,
    stores_beside,
)

__all__ = [
    "place_in_cache",
    "require_file_target",
    "require_store_source",
    "require_store_target",
    "store_in_cache",
]

_PARTS = {"store.json", "canary", "segments", "versions", "staging"}
"""What a store begins with, in whatever order its files arrive."""
_DEPTH = 3
_SHOWN = 3


def place_in_cache(address: str) -> tuple[str, str, str]:
    """Return the dataset, modality and name in which the address of a store ends.

    Raises
    ------
    UsageError
        It does not end so.
    """
    if "://" in address:
        parts = tuple(part for part in address.split("://", 1)[1].split("/") if part)
    else:
        # Not Path.absolute: it keeps "..", which is no part of a place.
        parts = Path(os.path.normpath(Path(address).absolute())).parts
    tail = parts[-_DEPTH:]
    if len(tail) < _DEPTH or tail[1] not in set(Modality) or {"..", "."} & set(tail):
        raise UsageError(
            f"{address}: expected an address that ends in DATASET/MODALITY/NAME, "
            f"found {'/'.join(tail)}",
            remedy="Name the store itself: a pull's folder after --to, a push's REMOTE "
            "without a slash at its end",
        )
    return tail[0], tail[1], tail[2]


def store_in_cache(cache: str, store: Path) -> str:
    """Return the address of a store's place in a cache, which ends in a slash.

    Raises
    ------
    UsageError
        The store has no such place, or the cache is a store, or lies in a cache, a store,
        a run or a dataset.
    """
    dataset, modality, name = place_in_cache(str(store))
    if "://" in cache and "store.json" in ObjectRemote.open(cache).names():
        raise UsageError(
            f"{cache}: expected a cache, found a store",
            remedy=f"Leave the slash out to push to the store itself: {cache.rstrip('/')}",
        )
    if "://" not in cache:
        _require_outside_of_stores(Path(cache) / "file")
        require_outside_of_others(Path(cache))
    root, parts = _around(cache)
    if root:
        raise UsageError(
            f"{cache}: expected a cache, found {'/'.join(parts)} in the cache {root}",
            remedy=f"Name the cache itself: {root}/",
        )
    return f"{cache}{dataset}/{modality}/{name}"


def require_store_target(
    address: str, *, source: str | None = None, may_be_empty: bool = False
) -> None:
    """Refuse to write a store where something else is.

    Parameters
    ----------
    address
        A path or address that is to be the store itself.
    source
        Where the store comes from, None where ``address`` is its place in a cache that the
        user named.
    may_be_empty
        Whether an empty folder will do, as where only a store's folder can be meant.

    Raises
    ------
    UsageError
        A cache is there, anything else that is no store, or a store, run or dataset around
        it. Or it lies in a cache, and not at the place of the store.
    """
    if "://" in address:
        names = ObjectRemote.open(address).names()
    else:
        path = Path(address)
        _require_outside_of_stores(path)
        require_no_file(path, address)
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    if names & _PARTS:
        return
    if source is not None and "://" not in address:
        require_outside_of_others(Path(address))
    is_empty = "://" not in address and not names and Path(address).is_dir()
    if names or (is_empty and not may_be_empty):
        raise UsageError(
            f"{address}: expected a store or nothing, found "
            + (_shown(names) if names else "an empty folder"),
            remedy=f"Write {_around(address)[0] or address.rstrip('/')}/ for a cache, in which"
            " the store keeps its place, or name the store's own folder in it",
        )
    if source is not None:
        _require_place(address, source)


def _require_place(address: str, source: str) -> None:
    """Refuse a new store that lies in a cache elsewhere than where it would be looked for."""
    root, parts = _around(address)
    if not root:
        return
    try:
        place = place_in_cache(source)
    except UsageError:
        place = None
    modalities = set(Modality) if place is None else {place[1]}
    # Of two stores of one modality in a cache, nobody could tell which one a training takes.
    is_alone = "://" in address or not stores_beside(Path(address))
    is_free = len(parts) == _DEPTH and parts[1] in modalities and is_alone
    if parts != place and not is_free:
        home = "" if place is None else f"{root}/{'/'.join(place)}"
        is_other = home and os.path.realpath(source) != home  # else the store itself
        there = f"Name its place there: {home}, or a" if is_other else ""
        raise UsageError(
            f"{address}: expected a folder outside of every cache, found {'/'.join(parts)} in"
            f" the cache {root}",
            remedy=f"{there or 'Name a'} folder outside of the cache",
        )


def _around(address: str) -> tuple[str, tuple[str, ...]]:
    """Return the cache that an address lies in, and the parts below it; ``""`` for none."""
    if "://" not in address:
        root, parts = cache_around(Path(address)) or ("", ())
        return str(root), parts
    scheme, _, rest = address.rstrip("/").partition("://")
    names = rest.split("/")
    for depth in range(1, min(len(names), _DEPTH + 2)):
        parent = f"{scheme}://{'/'.join(names[:-depth])}"
        try:
            if ObjectRemote.open(parent).holds_stores():
                return parent, tuple(names[-depth:])
        except RemoteError:  # whoever may write in a folder need not be allowed to list those above
            break
    return "", ()


def require_store_source(address: str) -> None:
    """Refuse a folder of stores where one store is meant.

    Raises
    ------
    UsageError
        The folder is a cache. The message names stores in it.
    """
    if "://" in address or (Path(address) / "store.json").exists():
        return
    stores = [str(path) for path in find_stores(address)]
    if stores:
        raise UsageError(
            f"{address}: expected a store, found a cache with {len(stores):,} stores",
            remedy=f"Name one of them, such as {stores[0]}",
        )


def require_file_target(folder: Path) -> None:
    """Refuse to write files of other tools into a store or a cache.

    Raises
    ------
    UsageError
        The folder is one, or lies in a store.
    """
    _require_outside_of_stores(folder / "file")
    if find_stores(folder):
        raise UsageError(
            f"{folder}: expected a folder of your own, found a cache",
            remedy="Name another folder",
        )


def _require_outside_of_stores(path: Path) -> None:
    for parent in path.resolve().parents:
        if (parent / "store.json").is_file():
            raise UsageError(
                f"{path}: expected a folder outside of every store, found it in {parent}",
                remedy="Name a folder that is in no store",
            )


def _shown(names: set[str]) -> str:
    some = sorted(names)[:_SHOWN]
    more = "" if len(names) <= _SHOWN else f" and {len(names) - _SHOWN:,} more"
    return f"{', '.join(some)}{more} there"
