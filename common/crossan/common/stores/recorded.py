"""Opening the version of a store that somebody has recorded."""

from __future__ import annotations

from pathlib import Path

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.stores.reader import FeatureStore, open_store
from crossan.common.stores.surroundings import is_begun
from crossan.common.stores.versions import list_versions

__all__ = ["open_recorded"]

_SHOWN = 3


def open_recorded(path: Path | str, version: int) -> FeatureStore:
    """Open a version that was there once, as a run's ``cache.lock.json`` tells.

    Raises
    ------
    StoreIntegrityError
        Its manifest was lost. Or as `open_store`.
    StoreNotFoundError, IncompatibleError
        As `open_store`.
    """
    path = Path(path)
    versions = list_versions(path)
    if version not in versions and is_begun(path):
        existing = ", ".join(map(str, versions[-_SHOWN:])) or "none"
        last = "the last are " if len(versions) > _SHOWN else ""
        raise StoreIntegrityError(
            f"{path}: expected version {version}, which was recorded, found {last}{existing}:"
            " a manifest was lost",
            remedy="Run: crossan-extract --repair with the options of the store",
        )
    return open_store(path, version)
