"""Which stores a run reads, and which items they can serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossan.cache_schema.errors import DataError, StoreNotFoundError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import note
from crossan.common.datasets import Dataset, KeptSequences, keep_sequences
from crossan.common.stores import FeatureStore, find_stores, open_store
from crossan.train.settings import DataSettings

__all__ = ["cache_folder", "choose_stores", "keep_served", "lock_entries", "require_choice"]


def cache_folder(data: DataSettings) -> Path:
    """Return the folder of stores.

    Raises
    ------
    UsageError
        None was named.
    """
    if data.cache is None:
        raise UsageError("--cache: expected a folder of stores, found neither the flag nor CROSSAN_CACHE")
    return Path(data.cache)


def choose_stores(data: DataSettings, dataset: Dataset) -> dict[Modality, FeatureStore]:
    """Open one store per modality, in the order of `Modality`.

    Raises
    ------
    UsageError
        No store, or several to choose from.
    """
    named = [open_store(path) for path in data.store]
    chosen = {store.identity.modality: store for store in named}
    if len(chosen) < len(named):
        raise UsageError("--store: two of the stores named hold the same modality")
    cache = cache_folder(data)
    found = {m: find_stores(cache, dataset.name, m) for m in Modality}
    wanted = data.modality or tuple(m for m in Modality if found[m] or m in chosen)
    if not wanted:
        raise StoreNotFoundError(
            f"{data.cache}: expected a store for dataset {dataset.name}, found none",
            remedy=f"crossan-extract --modality all --dataset {data.dataset} --cache {data.cache}",
        )
    return {m: chosen[m] if m in chosen else open_store(_the_only(found[m], m, data)) for m in Modality if m in wanted}


def keep_served(dataset: Dataset, stores: dict[Modality, FeatureStore], data: DataSettings) -> KeptSequences:
    """Apply the protocol to the items the stores can serve.

    An item that some store never saw, or that has none of the modalities, stops
    the run; with ``drop_items`` its interactions are removed and the protocol is
    applied again. Without stores every item of the dataset is served.

    Raises
    ------
    DataError
        Items that cannot be served.
    """
    interactions = dataset.interactions()
    dropped: set[str] = set()
    while True:
        kept = keep_sequences(interactions, max_items=data.max_items, min_items=data.min_items, drop_items=dropped)
        unserved = _never_extracted(kept.item_ids, stores)
        if unserved and not data.drop_items:
            _refuse_unserved(unserved, stores, data)
        bad = set().union(*unserved.values())
        if stores and not unserved:
            bad = _without_modality(kept.item_ids, stores, data)
        if not bad:
            break
        dropped |= bad
    if dropped:
        note(f"dropped {len(dropped):,} items the stores cannot serve (--drop-items), first: {min(dropped)}")
    return kept


def lock_entries(stores: Mapping[Modality, FeatureStore], layers: Sequence[int] | None) -> dict[str, dict[str, Any]]:
    """Return what ``cache.lock.json`` says of every store, by modality.

    Parameters
    ----------
    stores
        The stores that a run reads.
    layers
        Layer numbers that it reads of each; None for all that a store keeps.
    """
    return {
        modality.value: {
            "store": str(store.path.absolute()),
            "fingerprint": store.fingerprint,
            "version": store.version,
            "manifest": store.manifest_digest,
            "layers": list(store.layers if layers is None else layers),
            "dim": store.dim,
        }
        for modality, store in stores.items()
    }


def require_choice(top_k: int, count: int) -> None:
    """Raise `UsageError` if MOMEF shall choose more modalities than the ``count`` in use."""
    if top_k > count:
        raise UsageError(
            f"model.top_k: expected at most {count}, the modalities in use, got {top_k}",
            remedy=f"--set model.top_k={count}",
        )


def _the_only(found: Sequence[Path], modality: Modality, data: DataSettings) -> Path:
    if not found:
        raise StoreNotFoundError(
            f"{data.cache}: expected a {modality.value} store, found none",
            remedy=f"crossan-extract --modality {modality.value} --dataset {data.dataset} --cache {data.cache}",
        )
    if len(found) > 1:
        listed = "\n  ".join(str(path) for path in found)
        raise UsageError(
            f"{data.cache}: {len(found)} {modality.value} stores to choose from\n  {listed}",
            remedy=f"Name one: --store {found[0]}",
        )
    return found[0]


def _never_extracted(item_ids: np.ndarray, stores: dict[Modality, FeatureStore]) -> dict[Modality, list[str]]:
    lacking = {m: [str(item) for item in item_ids[~np.isin(item_ids, store.item_ids)]] for m, store in stores.items()}
    return {modality: items for modality, items in lacking.items() if items}


def _refuse_unserved(
    unserved: dict[Modality, list[str]], stores: dict[Modality, FeatureStore], data: DataSettings
) -> None:
    lines = [
        f"{m.value} has {len(stores[m].item_ids):,} items, {len(items):,} of the dataset's were never extracted,"
        f" first: {items[0]}"
        for m, items in unserved.items()
    ]
    asked = ",".join(m.value for m in unserved)
    raise DataError(
        "the stores do not hold every item of the dataset\n  " + "\n  ".join(lines),
        remedy=f"Run: crossan-extract --modality {asked} --dataset {data.dataset} --cache {data.cache}  (or --drop-items)",
    )


def _without_modality(item_ids: np.ndarray, stores: dict[Modality, FeatureStore], data: DataSettings) -> set[str]:
    has_any = np.zeros(len(item_ids), dtype=bool)
    for store in stores.values():
        has_any |= store.presence[np.searchsorted(store.item_ids, item_ids)]
    bare = [str(item) for item in item_ids[~has_any]]
    if bare and not data.drop_items:
        names = ", ".join(m.value for m in stores)
        raise DataError(
            f"{len(bare):,} items have none of the modalities {names}, first: {bare[0]}",
            remedy="Add a modality that they have, or leave them out: --drop-items",
        )
    return set(bare)
