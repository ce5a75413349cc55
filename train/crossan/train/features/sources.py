"""Which stores a run reads, and which items they can serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossan.cache_schema.errors import DataError, StoreNotFoundError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import note
from crossan.common.datasets import Dataset, KeptSequences, keep_sequences
from crossan.common.stores import FeatureStore, find_stores, open_store
from crossan.train.settings import DataSettings

__all__ = [
    "RecordedRun",
    "Served",
    "cache_folder",
    "choose_stores",
    "keep_served",
    "lock_entries",
]


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run that lies there, whose stores are opened at the versions it recorded."""

    run: Path
    may_follow: bool
    """Whether a store's newest version may stand in for one without every item: never where training goes on."""

    @property
    def way_out(self) -> str:
        """What to do where it may not."""
        return f"Begin another run from its weights: --init {self.run} --out {self.run}-2"


@dataclass(frozen=True, slots=True)
class Served:
    """What a run reads."""

    kept: KeptSequences
    stores: Mapping[Modality, FeatureStore]
    """Those that were given, or newer versions of them."""


def cache_folder(data: DataSettings) -> Path:
    """Return the folder of stores.

    Raises
    ------
    UsageError
        None was named.
    """
    if data.cache is None:
        raise UsageError(
            "--cache: expected a folder of stores, found neither the flag nor CROSSAN_CACHE"
        )
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
    return {
        m: chosen[m] if m in chosen else open_store(_the_only(found[m], m, data))
        for m in Modality
        if m in wanted
    }


def keep_served(
    dataset: Dataset,
    stores: Mapping[Modality, FeatureStore],
    data: DataSettings,
    recorded: RecordedRun | None = None,
) -> Served:
    """Apply the protocol to the items the stores can serve.

    An item that some store never saw, or that has none of the modalities, stops
    the run; with ``drop_items`` its interactions are removed and the protocol is
    applied again. Without stores every item of the dataset is served.

    Parameters
    ----------
    dataset, stores, data
        What is read, and how.
    recorded
        The run whose versions the stores are opened at; None for a run that begins.

    Raises
    ------
    DataError
        Items that cannot be served.
    """
    interactions = dataset.interactions()
    dropped: set[str] = set()
    while True:
        kept = keep_sequences(
            interactions, max_items=data.max_items, min_items=data.min_items, drop_items=dropped
        )
        lacking = _never_extracted(kept.item_ids, stores)
        bare = [] if lacking else _without_modality(kept.item_ids, stores)
        if not lacking and not bare:
            break
        if data.drop_items:
            dropped |= set(bare).union(*lacking.values())
            continue
        newer = (
            _newer(lacking or dict.fromkeys(stores, bare), stores)
            if recorded and recorded.may_follow
            else {}
        )
        if not newer:
            raise (
                _unserved(lacking, stores, data, recorded)
                if lacking
                else _bare(bare, stores, data, recorded)
            )
        stores = {**stores, **newer}
    if dropped:
        note(
            f"dropped {len(dropped):,} items the stores cannot serve (--drop-items), first: {min(dropped)}"
        )
    return Served(kept, stores)


def lock_entries(
    stores: Mapping[Modality, FeatureStore], layers: Sequence[int] | None
) -> dict[str, dict[str, Any]]:
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


def _never_extracted(
    item_ids: np.ndarray, stores: Mapping[Modality, FeatureStore]
) -> dict[Modality, list[str]]:
    lacking = {
        m: [str(item) for item in item_ids[~np.isin(item_ids, store.item_ids)]]
        for m, store in stores.items()
    }
    return {modality: items for modality, items in lacking.items() if items}


def _without_modality(item_ids: np.ndarray, stores: Mapping[Modality, FeatureStore]) -> list[str]:
    """Return the items that every store knows and none has hidden states of; none without stores."""
    has_any = np.zeros(len(item_ids), dtype=bool) if stores else np.ones(len(item_ids), dtype=bool)
    for store in stores.values():
        has_any |= store.presence[np.searchsorted(store.item_ids, item_ids)]
    return [str(item) for item in item_ids[~has_any]]


def _newer(
    lacking: Mapping[Modality, list[str]], stores: Mapping[Modality, FeatureStore]
) -> dict[Modality, FeatureStore]:
    """Open the newest version of the stores that do not serve some items, where it is newer, and say so."""
    newest = {modality: open_store(stores[modality].path) for modality in lacking}
    newer = {
        modality: store
        for modality, store in newest.items()
        if store.version > stores[modality].version
    }
    for modality, store in newer.items():
        items = lacking[modality]
        note(
            f"{modality.value}: reading version {store.version} of the store; version {stores[modality].version}, which"
            f" the run was trained on, does not serve {len(items):,} items of the dataset, first: {items[0]}"
        )
    return newer


def _unserved(
    lacking: Mapping[Modality, list[str]],
    stores: Mapping[Modality, FeatureStore],
    data: DataSettings,
    recorded: RecordedRun | None,
) -> DataError:
    is_pinned = recorded is not None and not recorded.may_follow
    lines = [
        f"{m.value} has {len(stores[m].item_ids):,} items"
        + (f" in version {stores[m].version}" if is_pinned else "")
        + f", {len(items):,} of the dataset's "
        + ("are not among them" if is_pinned else "were never extracted")
        + f", first: {items[0]}"
        for m, items in lacking.items()
    ]
    extract = f"Run: {_extract_command(lacking, data)}"
    if recorded is None:
        found, remedy = (
            "the stores do not hold every item of the dataset",
            f"{extract}  (or --drop-items)",
        )
    elif recorded.may_follow:
        found, remedy = "the stores do not hold every item of the dataset", extract
    else:
        found = f"{recorded.run}: the run there reads pinned versions of its stores, without every item of the dataset"
        remedy = recorded.way_out
    return DataError("\n  ".join([found, *lines]), remedy=remedy)


def _bare(
    bare: list[str],
    stores: Mapping[Modality, FeatureStore],
    data: DataSettings,
    recorded: RecordedRun | None,
) -> DataError:
    found = f"{len(bare):,} items have none of the modalities {', '.join(m.value for m in stores)}, first: {bare[0]}"
    if recorded is None:
        return DataError(
            found, remedy="Add a modality that they have, or leave them out: --drop-items"
        )
    if recorded.may_follow:
        return DataError(
            found,
            remedy=f"Add media of theirs to the dataset and run: {_extract_command(stores, data)}",
        )
    pinned = ", ".join(f"{m.value} {store.version}" for m, store in stores.items())
    return DataError(
        f"{recorded.run}: the run there reads pinned versions of its stores ({pinned}), where {found}",
        remedy=recorded.way_out,
    )


def _extract_command(wanted: Iterable[Modality], data: DataSettings) -> str:
    names = ",".join(modality.value for modality in wanted)
    return f"crossan-extract --modality {names} --dataset {data.dataset} --cache {data.cache}"
