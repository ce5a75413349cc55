"""What a folder lies in, where a store or a cache is to be written.

A store lies in a cache at ``DATASET/MODALITY/NAME`` and nowhere else, and in no other store, run
or dataset. A store that was written elsewhere in them would be taken for one of theirs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality

__all__ = [
    "cache_around",
    "has_content",
    "is_begun",
    "require_outside_of_others",
    "require_root",
    "stores_beside",
]

_DEPTH = 3
"""Folders from a cache down to a store: dataset, modality, name."""
_OWNERS = {"dataset.json": "a dataset", "cache.lock.json": "a run", "dataset.lock.json": "a run"}


def is_begun(folder: Path) -> bool:
    """Whether a folder holds a store, or what is left of one.

    A store that has content but no ``store.json`` was begun, as that file is written first.
    """
    return _is_there(folder / "store.json") or has_content(folder)


def has_content(folder: Path) -> bool:
    """Whether a folder has manifests or segments of a store."""
    return any(_folder_names(folder / name) for name in ("versions", "segments"))


def cache_around(path: Path) -> tuple[Path, tuple[str, ...]] | None:
    """Return the cache that a path lies in, and the parts of the path below it.

    None where it lies in none. Looked at are the folders in which a store could be meant to be.
    """
    path = Path(os.path.realpath(path))
    for depth, parent in enumerate(path.parents[: _DEPTH + 1], start=1):
        if parent != parent.parent and any(_stores_in(parent)):
            return parent, path.parts[-depth:]
    return None


def require_root(cache: Path) -> None:
    """Refuse a folder inside a cache, a run or a dataset where a cache is meant.

    Raises
    ------
    UsageError
        It is a dataset's or a modality's folder in a cache, or the folder of a run or dataset.
    """
    folder = Path(os.path.realpath(cache))
    is_modality = folder.name in set(Modality) and any(_begun_in(folder))
    is_dataset = any(any(_begun_in(folder / modality)) for modality in Modality)
    if is_modality or is_dataset:
        root = cache.parent.parent if is_modality else cache.parent
        level = "modality" if is_modality else "dataset"
        raise UsageError(
            f"{cache}: expected a cache, found the folder of a {level} in one",
            remedy=f"Name the cache itself: {root}/",
        )
    _require_no_owner(cache, folder)


def stores_beside(path: Path) -> list[Path]:
    """Return the other stores of the folder that a store lies in, or would."""
    return [store for store in _begun_in(path.parent) if store.name != path.name]


def require_outside_of_others(path: Path) -> None:
    """Refuse to write a new store into a run or a dataset.

    Raises
    ------
    UsageError
        The path is one, or in one.
    """
    resolved = Path(os.path.realpath(path))
    for parent in (resolved, *resolved.parents):
        _require_no_owner(path, parent)


def _require_no_owner(shown_as: Path, folder: Path) -> None:
    for name, owner in _OWNERS.items():
        if _is_there(folder / name):
            raise UsageError(
                f"{shown_as}: expected a folder outside of every run and dataset, found {owner}"
                f" at {folder}",
                remedy="Name another folder",
            )


def _stores_in(cache: Path) -> Iterator[Path]:
    for dataset in _folder_names(cache):
        for modality in Modality:
            yield from _begun_in(cache / dataset / modality)


def _begun_in(modality: Path) -> Iterator[Path]:
    return (modality / name for name in _folder_names(modality) if is_begun(modality / name))


def _folder_names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    # A folder above may be anybody's. What cannot be looked into is no cache of this user's.
    except OSError:
        return []


def _is_there(path: Path) -> bool:
    # Not Path.exists, which raises where a folder above may not be looked into.
    return os.path.exists(path)  # noqa: PTH110
