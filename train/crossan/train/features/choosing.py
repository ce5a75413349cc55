"""Which stores a new run reads, by its settings and by what lies in its cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from crossan.cache_schema.errors import StoreNotFoundError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.datasets import Dataset
from crossan.common.stores import FeatureStore, find_stores, open_store
from crossan.train.features.extract_command import extract_command
from crossan.train.features.sources import cache_folder
from crossan.train.settings import DataSettings
from crossan.train.settings.tower import NamedTower, Tower, in_order, modality_of

__all__ = ["choose_stores"]


def choose_stores(data: DataSettings, dataset: Dataset) -> dict[Tower, FeatureStore]:
    """Open the stores of a run, in the order of `in_order`.

    Of a modality there is one, unless the settings name several: each of these is a tower.

    Raises
    ------
    UsageError
        Several stores of one modality to choose from, or two that are named alike.
    StoreNotFoundError
        No store of a modality that is needed.
    """
    named = _named_towers([_open_named(name) for name in data.store])
    given = {modality_of(tower) for tower in named}
    cache = cache_folder(data)
    in_cache = {m: find_stores(cache, dataset.name, m) for m in Modality}
    modalities = data.modality or tuple(m for m in Modality if in_cache[m] or m in given)
    if not modalities:
        raise StoreNotFoundError(
            f"{data.cache}: expected a store for dataset {dataset.name}, found none",
            remedy=f"crossan-extract --modality all --dataset {data.dataset} --cache {data.cache}",
        )
    stores: dict[Tower, FeatureStore] = {
        tower: store for tower, store in named.items() if modality_of(tower) in modalities
    }
    for modality in modalities:
        if modality not in given:
            stores[modality] = open_store(_the_only(in_cache[modality], modality, data))
    return {tower: stores[tower] for tower in in_order(stores)}


def _named_towers(opened: Sequence[FeatureStore]) -> dict[Tower, FeatureStore]:
    """Return stores by modality, and by modality and folder where there are several of one."""
    counts = Counter(store.identity.modality for store in opened)
    towers: dict[Tower, FeatureStore] = {}
    for store in opened:
        modality, folder = store.identity.modality, store.path.absolute().name
        tower: Tower = modality if counts[modality] == 1 else NamedTower(modality, folder)
        if tower in towers:
            raise UsageError(
                f"--store: expected {modality.value} stores in folders of different names, found"
                f" {folder} twice",
                remedy=f"Name one of them: --store {store.path}",
            )
        towers[tower] = store
    return towers


def _open_named(name: str) -> FeatureStore:
    """Open a store by its folder, ``FOLDER@3`` at version 3."""
    folder, _, version = name.rpartition("@")
    if folder and version.isdecimal() and not Path(name).is_dir():
        return open_store(folder, int(version))
    return open_store(name)


def _the_only(candidates: Sequence[Path], modality: Modality, data: DataSettings) -> Path:
    if not candidates:
        raise StoreNotFoundError(
            f"{data.cache}: expected a store of {modality.value}, found none",
            remedy=extract_command([modality], data),
        )
    if len(candidates) > 1:
        listed = "\n  ".join(str(path) for path in candidates)
        raise UsageError(
            f"{data.cache}: {len(candidates)} {modality.value} stores to choose from\n  {listed}",
            remedy=f"Name one: --store {candidates[0]}",
        )
    return candidates[0]
