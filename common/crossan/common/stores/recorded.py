"""Opening the version of a store that somebody has recorded."""

from __future__ import annotations

from pathlib import Path

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.stores.reader import FeatureStore, open_store
from crossan.common.stores.versions import list_versions

__all__ = ["open_recorded"]


def open_recorded(path: Path | str, version: int) -> FeatureStore:
    """Open a version that was there once, as a run's ``cache.lock.json`` tells.

    Raises
    ------
    StoreIntegrityError
        The store has older versions only: its newest manifests were lost. Or as `open_store`.
    StoreNotFoundError, IncompatibleError
        As `open_store`.
    """
    newest = max(list_versions(Path(path)), default=0)
    if 0 < newest < version:
        raise StoreIntegrityError(
            f"{path}: expected version {version}, which was recorded, found none after {newest}:"
            " a manifest was lost",
            remedy="Run: crossan-extract --repair with the options of the store",
        )
    return open_store(path, version)
