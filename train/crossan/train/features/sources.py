"""Which stores a run reads, and which items they can serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.modality import Modality
from crossan.common.console import note
from crossan.common.datasets import Dataset, KeptSequences, keep_sequences
from crossan.common.stores import FeatureStore, open_store
from crossan.common.stores.folders import require_cache
from crossan.train.features.extract_command import extract_command
from crossan.train.features.raw_inputs import RawSource
from crossan.train.settings import DataSettings
from crossan.train.settings.models import LayersRead, layers_read
from crossan.train.settings.tower import Tower

__all__ = [
    "RecordedRun",
    "Served",
    "cache_folder",
    "keep_served",
    "lock_entries",
]


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """An earlier run, whose stores are opened at the versions that it recorded."""

    run: Path
    may_follow: bool
    """Whether the newest version of a store may replace one that lacks items.

    It never may where a training is resumed.
    """

    @property
    def way_out(self) -> str:
        """The remedy where no newer version may be read."""
        return f"Begin another run from its weights: --init {self.run} --out {self.run}-2"


@dataclass(frozen=True, slots=True)
class Served:
    """The sequences and stores that a run reads."""

    kept: KeptSequences
    stores: Mapping[Tower, FeatureStore]
    """The stores that were given, or newer versions of them."""
    media: Mapping[Modality, RawSource] = field(default_factory=dict)
    """Backbones and the inputs of their items, of a run that trains them."""


def cache_folder(data: DataSettings) -> Path:
    """Return the folder of stores.

    Raises
    ------
    UsageError
        No folder was named.
    """
    return require_cache(None if data.cache is None else Path(data.cache))


def keep_served(
    dataset: Dataset,
    stores: Mapping[Tower, FeatureStore],
    data: DataSettings,
    recorded: RecordedRun | None = None,
) -> Served:
    """Apply the protocol to the items that the stores can serve.

    An item that some store never saw, or that has none of the modalities, stops
    the run. With ``drop_items`` its interactions are removed instead, and the
    protocol is applied again. Without stores every item of the dataset is served.

    Parameters
    ----------
    dataset, stores, data
        What is read, and how.
    recorded
        The run at whose versions the stores are opened, or None for a new run.

    Raises
    ------
    DataError
        Some items cannot be served.
    """
    interactions = dataset.interactions()
    dropped: set[str] = set()
    # Dropping an item shortens sequences, which may drop users and with them other items: the
    # protocol is applied until the stores serve all that it keeps.
    while True:
        kept = keep_sequences(
            interactions,
            max_items=data.max_items,
            min_items=data.min_items,
            drop_items=dropped,
            split=data.parted_by,
        )
        lacking = _never_extracted(kept.item_ids, stores)
        bare = [] if lacking else _without_modality(kept.item_ids, stores)
        if not lacking and not bare:
            break
        if data.drop_items:
            dropped |= set(bare).union(*lacking.values())
            continue
        newer: dict[Tower, FeatureStore] = {}
        if recorded and recorded.may_follow:
            # Any store may have gained a row for an item that none had one for.
            newer = _newer(lacking or dict.fromkeys(stores, bare), stores)
        if not newer and lacking:
            raise _unserved(lacking, stores, data, recorded)
        if not newer:
            raise _bare(bare, stores, data, recorded)
        stores = {**stores, **newer}
    if dropped:
        note(
            f"dropped {len(dropped):,} items the stores cannot serve (--drop-items),"
            f" first: {min(dropped)}"
        )
    return Served(kept, stores)


def lock_entries(
    stores: Mapping[Tower, FeatureStore], layers: LayersRead
) -> dict[str, dict[str, Any]]:
    """Return the entry of every store in ``cache.lock.json``, by modality.

    ``layers`` are those that the run reads of each store.
    """
    return {
        modality.value: {
            "store": str(store.path.absolute()),
            "fingerprint": store.fingerprint,
            "version": store.version,
            "manifest": store.manifest_digest,
            "layers": list(layers_read(store.layers, layers)),
            "dim": store.dim,
        }
        for modality, store in stores.items()
    }


def _never_extracted(
    item_ids: np.ndarray, stores: Mapping[Tower, FeatureStore]
) -> dict[Tower, list[str]]:
    lacking = {
        m: [str(item) for item in item_ids[~np.isin(item_ids, store.item_ids)]]
        for m, store in stores.items()
    }
    return {modality: items for modality, items in lacking.items() if items}


def _without_modality(item_ids: np.ndarray, stores: Mapping[Tower, FeatureStore]) -> list[str]:
    """Return the items that every store knows and none has hidden states of."""
    # A run without stores reads item ids only: nothing is lacking for it.
    has_any = np.zeros(len(item_ids), dtype=bool) if stores else np.ones(len(item_ids), dtype=bool)
    for store in stores.values():
        has_any |= store.presence[np.searchsorted(store.item_ids, item_ids)]
    return [str(item) for item in item_ids[~has_any]]


def _newer(
    lacking: Mapping[Tower, list[str]], stores: Mapping[Tower, FeatureStore]
) -> dict[Tower, FeatureStore]:
    """Open the newest version of every store that does not serve some items.

    Those of which there is a newer version are returned and printed.
    """
    newest = {modality: open_store(stores[modality].path) for modality in lacking}
    newer = {
        modality: store
        for modality, store in newest.items()
        if store.version > stores[modality].version
    }
    for modality, store in newer.items():
        items, trained_on = lacking[modality], stores[modality].version
        note(
            f"{modality.value}: reading version {store.version} of the store;"
            f" version {trained_on}, which the run was trained on,"
            f" does not serve {len(items):,} items of the dataset, first: {items[0]}"
        )
    return newer


def _unserved(
    lacking: Mapping[Tower, list[str]],
    stores: Mapping[Tower, FeatureStore],
    data: DataSettings,
    recorded: RecordedRun | None,
) -> DataError:
    """Return the error for items that some stores never saw."""
    if recorded is not None and not recorded.may_follow:
        lines = [
            f"{m.value} has {len(stores[m].item_ids):,} items in version {stores[m].version},"
            f" {len(items):,} of the dataset's are not among them, first: {items[0]}"
            for m, items in lacking.items()
        ]
        pinned = f"{recorded.run}: this run reads pinned versions of its stores"
        return DataError(
            "\n  ".join([f"{pinned}, without every item of the dataset", *lines]),
            remedy=recorded.way_out,
        )
    lines = [
        f"{m.value} has {len(stores[m].item_ids):,} items,"
        f" {len(items):,} of the dataset's were never extracted, first: {items[0]}"
        for m, items in lacking.items()
    ]
    # An earlier run cannot drop items: it was trained on their rows.
    extract = f"Run: {extract_command(lacking, data, stores)}"
    return DataError(
        "\n  ".join(["the stores do not hold every item of the dataset", *lines]),
        remedy=extract if recorded else f"{extract}  (or --drop-items)",
    )


def _bare(
    bare: list[str],
    stores: Mapping[Tower, FeatureStore],
    data: DataSettings,
    recorded: RecordedRun | None,
) -> DataError:
    """Return the error for items that have none of the modalities."""
    modalities = ", ".join(m.value for m in stores)
    problem = f"{len(bare):,} items have none of the modalities {modalities}, first: {bare[0]}"
    if recorded is None:
        return DataError(
            problem, remedy="Add a modality that they have, or leave them out: --drop-items"
        )
    if recorded.may_follow:
        return DataError(
            problem,
            remedy=f"Add their media to the dataset and run: {extract_command(stores, data, stores)}",
        )
    pinned = ", ".join(f"{m.value} {store.version}" for m, store in stores.items())
    return DataError(
        f"{recorded.run}: this run reads pinned versions of its stores ({pinned}), where {problem}",
        remedy=recorded.way_out,
    )
