"""Which store a path or an address names, where a command may be given that of a cache.

The rule: an address that ends in a slash is a cache, in which a store keeps its place
``DATASET/MODALITY/NAME``. Any other is the store itself: one that is there, or a new one
where nothing is. What is neither is refused, so that no store is ever written into a
cache beside the stores there, or into another store.
"""

from __future__ import annotations

import os
from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.stores.folders import find_stores
from crossan.common.stores.sharing.objects import ObjectRemote

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
        The store has no such place, or the cache is a store.
    """
    dataset, modality, name = place_in_cache(str(store))
    if "://" in cache and "store.json" in ObjectRemote.open(cache).names():
        raise UsageError(
            f"{cache}: expected a cache, found a store",
            remedy=f"Leave the slash out to push to the store itself: {cache.rstrip('/')}",
        )
    return f"{cache}{dataset}/{modality}/{name}"


def require_store_target(address: str, *, may_be_empty: bool = False) -> None:
    """Refuse to write a store where something else is.

    Parameters
    ----------
    address
        A path or address that is to be the store itself.
    may_be_empty
        Whether an empty folder will do, as where only a store's folder can be meant.

    Raises
    ------
    UsageError
        A cache is there, anything else that is no store, or a store around it.
    """
    if "://" in address:
        names = ObjectRemote.open(address).names()
    else:
        path = Path(address)
        _require_outside_of_stores(path)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{address}: expected a store or nothing, found a file")
        if path.is_dir() and not may_be_empty and not any(path.iterdir()):
            raise UsageError(
                f"{address}: expected a store or nothing, found an empty folder",
                remedy=f"Write {address}/ for a cache, in which the store keeps its place, "
                "or name the store's own folder in it",
            )
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    if names and not names & _PARTS:
        raise UsageError(
            f"{address}: expected a store or nothing, found {_shown(names)}",
            remedy=f"Write {address}/ for a cache, in which the store keeps its place, "
            "or name the store's own folder in it",
        )


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
