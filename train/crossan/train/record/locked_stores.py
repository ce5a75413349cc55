"""The stores that a run recorded, opened wherever they lie now."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import IncompatibleError, StoreNotFoundError
from crossan.cache_schema.modality import Modality
from crossan.common.stores import FeatureStore, find_stores
from crossan.common.stores.recorded import open_recorded
from crossan.train.settings.tower import Tower, modality_of, tower_of

__all__ = ["moved_along", "open_locked"]

_PARTS = ("store.json", "versions", "segments")


def moved_along(recorded: Path, old_run: Path | None, run: Path) -> Path:
    """Return where a path lies if it was moved together with the run that recorded it.

    Parameters
    ----------
    recorded
        Absolute path that the run recorded.
    old_run
        Where the run lay then, None where it recorded nothing of that.
    run
        Where it lies now.
    """
    if old_run is None:
        return recorded
    return Path(os.path.normpath(run.absolute() / os.path.relpath(recorded, old_run)))


def open_locked(
    entries: Mapping[str, Mapping[str, Any]], run: Path, old_run: Path | None, cache: Path | None
) -> dict[Tower, FeatureStore]:
    """Open the stores of ``cache.lock.json`` at their recorded versions.

    Each is taken from ``cache`` where that is given, else from where it lay, else
    from where it lies if it was moved together with the run.

    Parameters
    ----------
    entries
        What the file holds of each modality.
    run, old_run
        Where the run lies, and where it lay when it recorded them.
    cache
        Folder of stores that the user names.

    Raises
    ------
    StoreNotFoundError
        A store is in none of these places.
    IncompatibleError
        A store there is not the one that was recorded, or a version not the same.
    StoreIntegrityError
        The version was lost, or is damaged.
    """
    stores: dict[Tower, FeatureStore] = {}
    for name, entry in entries.items():
        recorded, tower = Path(entry["store"]), tower_of(name)
        modality = modality_of(tower)
        if cache is None:
            folder = _where_it_lies(recorded, moved_along(recorded, old_run, run), modality)
        else:
            folder = _in_cache(cache, recorded, modality)
        store = open_recorded(folder, entry["version"])
        _require_recorded(store, folder, entry)
        stores[tower] = store
    return stores


def _where_it_lies(recorded: Path, moved: Path, modality: Modality) -> Path:
    for folder in (recorded, moved):
        # Not Path.is_file, which raises where somebody else's folder may not be entered. A store
        # that has lost its store.json is opened too, which says so.
        if any(os.access(folder / name, os.R_OK) for name in _PARTS):
            return folder
    raise StoreNotFoundError(
        f"{recorded}: expected the {modality} store that the run was trained on, found none",
        remedy="Name the folder of stores where it lies now: --cache FOLDER",
    )


def _in_cache(cache: Path, recorded: Path, modality: Modality) -> Path:
    """Return the store of this name in a cache, that of the same dataset's name first."""
    folders = find_stores(cache, None, modality)
    named = [path for path in folders if path.name == recorded.name]
    # The last parts are dataset, modality and name.
    named.sort(key=lambda path: path.parts[-3:] != recorded.parts[-3:])
    if not named:
        raise StoreNotFoundError(
            f"--cache {cache}: expected the {modality} store {recorded.name} that the run was"
            f" trained on, found {len(folders)} other stores of {modality}",
            remedy="Name the folder of stores that holds it: --cache FOLDER",
        )
    return named[0]


def _require_recorded(store: FeatureStore, folder: Path, entry: Mapping[str, Any]) -> None:
    if store.fingerprint != entry["fingerprint"]:
        raise IncompatibleError(
            f"{folder}: the run recorded fingerprint"
            f" {entry['fingerprint'][:12]}, found {store.fingerprint[:12]}"
        )
    if store.manifest_digest != entry.get("manifest", store.manifest_digest):
        raise IncompatibleError(
            f"{folder}: the run recorded version {entry['version']} with the"
            f" digest {entry['manifest'][:12]}, found a version {entry['version']} with"
            f" {store.manifest_digest[:12]}: it is another store of the same recipe, or its"
            " history was rewritten",
            remedy="Name the cache that the run was trained on: --cache FOLDER",
        )
