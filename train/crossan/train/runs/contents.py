"""What a run reads, held against what the items of its dataset contain.

A store is found by the name of a dataset and read by item id. Neither says that
its rows were made from these titles and files: another dataset may have the same
name and ids, and a title may have been edited since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from crossan.cache_schema.canonical import pretty_bytes
from crossan.cache_schema.errors import DataError
from crossan.common.console import note
from crossan.common.contents.comparing import compare_contents
from crossan.common.datasets import Dataset
from crossan.common.files import replace_durably
from crossan.common.stores import FeatureStore, open_store
from crossan.train.features.extract_command import extract_command
from crossan.train.features.sources import RecordedRun, Served, keep_served
from crossan.train.ranks.ranks import ALONE, Ranks
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.shapes import read_record
from crossan.train.record.sweep_shapes import Compared
from crossan.train.settings import DataSettings
from crossan.train.settings.tower import Tower, tower_of

__all__ = ["Comparing", "Verdict", "Verdicts", "counts_of", "serve", "write_comparison"]

_SHOWN = 3
"""Stale items that a message names."""


@dataclass(frozen=True, slots=True)
class Comparing:
    """How the contents of a run are compared."""

    may_be_stale: bool = False
    """Whether items may have other contents than those that the stores were made from."""
    compared: Path | None = None
    """File of `write_comparison`, by which a sweep tells its trials what it has compared."""
    ranks: Ranks = ALONE
    """The first of them compares for all."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison of a run's items with one store has shown, as JSON can hold it."""

    compared: int
    stale: int
    not_here: int
    """Items not compared, as their files cannot be read on this machine."""
    unrecorded: int
    """Items not compared, as the store does not record their contents."""
    first: str | None
    """First stale items."""
    is_foreign: bool
    """Whether the store seems to be that of another dataset."""


Verdicts = Mapping[Tower, Verdict]


def counts_of(verdicts: Verdicts) -> dict[str, dict[str, int]]:
    """Return what ``result.json`` says of a comparison, by modality."""
    names = ("compared", "stale", "not_here", "unrecorded")
    return {
        modality.value: {name: getattr(verdict, name) for name in names}
        for modality, verdict in verdicts.items()
    }


def serve(
    dataset: Dataset,
    stores: Mapping[Tower, FeatureStore],
    data: DataSettings,
    recorded: RecordedRun | None = None,
    comparing: Comparing = Comparing(),
) -> tuple[Served, Verdicts]:
    """Return the sequences and stores that a run reads, and how their contents compare.

    Of an earlier run that is evaluated, a store with stale items is read at its
    newest version, if none of them is stale there.

    Parameters
    ----------
    dataset, stores, data, recorded
        As for `keep_served`.
    comparing
        How the contents are compared.

    Raises
    ------
    DataError
        Items that the stores cannot serve, or that are stale.
    """
    served = keep_served(dataset, stores, data, recorded)
    verdicts = _compare(dataset, served, comparing)
    if recorded is not None and recorded.may_follow and not data.drop_items:
        newer = _newer_without_stale(dataset, served, verdicts)
        if newer:
            served = keep_served(dataset, {**served.stores, **newer}, data, recorded)
            verdicts = _compare(dataset, served, comparing)
    stale = {modality: verdict for modality, verdict in verdicts.items() if verdict.stale}
    if stale and not comparing.may_be_stale:
        raise _stale_error(stale, dataset, data, served.stores, recorded)
    if stale:
        note(f"--allow-stale: {'; '.join(_lines(stale))}")
    _note_not_compared(verdicts)
    return served, verdicts


def write_comparison(path: Path, dataset: Dataset, served: Served, verdicts: Verdicts) -> None:
    """Write what was compared, so that other processes on the same data need not repeat it."""
    by_manifest = {
        served.stores[modality].manifest_digest: asdict(verdict)
        for modality, verdict in verdicts.items()
    }
    items = _digest(served.kept.item_ids)
    what = {"dataset": dataset.digest, "items": items, "stores": by_manifest}
    replace_durably(path, pretty_bytes(what))


def _compare(dataset: Dataset, served: Served, comparing: Comparing) -> dict[Tower, Verdict]:
    item_ids = served.kept.item_ids
    known = _compared_before(comparing.compared, dataset, item_ids)

    def compare() -> dict[str, Any]:
        return {
            modality.value: known.get(store.manifest_digest)
            or asdict(_verdict(dataset, item_ids, store))
            for modality, store in served.stores.items()
        }

    verdicts = comparing.ranks.from_first(compare)
    return {tower_of(name): Verdict(**verdict) for name, verdict in verdicts.items()}


def _verdict(dataset: Dataset, item_ids: np.ndarray, store: FeatureStore) -> Verdict:
    comparison = compare_contents(dataset, item_ids, store)
    return Verdict(
        compared=comparison.compared,
        stale=len(comparison.stale),
        not_here=len(comparison.not_here),
        unrecorded=len(comparison.unrecorded),
        first=", ".join(comparison.stale[:_SHOWN]) or None,
        is_foreign=comparison.is_foreign,
    )


def _compared_before(
    path: Path | None, dataset: Dataset, item_ids: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Return verdicts by the digest of the store's manifest, none where they are of other data."""
    what = None if path is None else read_record(path, Compared)
    if what is None:
        return {}
    if what.get("dataset") != dataset.digest or what.get("items") != _digest(item_ids):
        return {}
    names = {field.name for field in fields(Verdict)}
    verdicts: dict[str, dict[str, Any]] = what["stores"]
    return {digest: known for digest, known in verdicts.items() if known.keys() == names}


def _digest(item_ids: np.ndarray) -> str:
    return sha256("\0".join(item_ids.tolist()).encode()).hexdigest()


def _newer_without_stale(
    dataset: Dataset, served: Served, verdicts: Mapping[Tower, Verdict]
) -> dict[Tower, FeatureStore]:
    """Open the newest version of every store with stale items, where it has none."""
    newer = {}
    for modality, verdict in verdicts.items():
        pinned = served.stores[modality]
        if not verdict.stale:
            continue
        newest = open_store(pinned.path)
        item_ids = served.kept.item_ids
        if newest.version == pinned.version or not np.isin(item_ids, newest.item_ids).all():
            continue
        if compare_contents(dataset, item_ids, newest).stale:
            continue
        newer[modality] = newest
        note(
            f"{modality.value}: reading version {newest.version} of the store; of version"
            f" {pinned.version}, which the run was trained on, {verdict.stale:,} items have"
            f" other contents now, first: {verdict.first}"
        )
    return newer


def _lines(stale: Mapping[Tower, Verdict]) -> list[str]:
    return [
        f"{modality.value}: {verdict.stale:,} of {verdict.compared:,} items have other contents"
        f" than the store's rows were made from, first: {verdict.first}"
        + ("; the store may be that of another dataset" if verdict.is_foreign else "")
        for modality, verdict in stale.items()
    ]


def _stale_error(
    stale: Mapping[Tower, Verdict],
    dataset: Dataset,
    data: DataSettings,
    stores: Mapping[Tower, FeatureStore],
    recorded: RecordedRun | None,
) -> DataError:
    heading = f"dataset {dataset.name} is not what the stores were made from"
    is_foreign = any(verdict.is_foreign for verdict in stale.values())
    if recorded is not None and is_foreign:
        # Stores of other contents are other stores, which this run does not read either.
        return DataError(
            "\n  ".join([heading, *_lines(stale), _trained_on(recorded.run)]),
            remedy="Name the dataset that the run was trained on: --dataset FOLDER,"
            " or train a new run on this one  (or --allow-stale)",
        )
    cache = data.cache
    if is_foreign:
        # Extraction into that cache would take the rows from the dataset that they belong to.
        cache = f"{data.cache}-2"
    extracted = data.model_copy(update={"cache": cache})
    remedy = f"Run: {extract_command(stale, extracted, stores)}"
    if cache != data.cache:
        remedy += f", then give --cache {cache}"
    if recorded is not None and (not recorded.may_follow or data.drop_items):
        # Other rows are another version of the store, which this run does not read.
        remedy += f", then {recorded.way_out[0].lower()}{recorded.way_out[1:]}"
    return DataError("\n  ".join([heading, *_lines(stale)]), remedy=f"{remedy}  (or --allow-stale)")


def _trained_on(run: Path) -> str:
    trained_on = RunFolder(run).settings().data.dataset
    return f"{run} was trained on the dataset that lay at {trained_on}, with the contents of then"


def _note_not_compared(verdicts: Mapping[Tower, Verdict]) -> None:
    parts = []
    for modality, verdict in verdicts.items():
        if verdict.not_here:
            parts.append(f"{modality.value} {verdict.not_here:,} (no file on this machine)")
        if verdict.unrecorded:
            parts.append(f"{modality.value} {verdict.unrecorded:,} (the store records none)")
    if parts:
        note(f"items whose contents could not be compared with the stores': {', '.join(parts)}")
