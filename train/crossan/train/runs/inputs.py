"""The dataset and the stores of an earlier run, wherever they lie now."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.common.console import note
from crossan.common.datasets import Dataset, KeptSequences, keep_sequences, open_dataset
from crossan.common.stores import FeatureStore
from crossan.train.features.sources import RecordedRun, keep_served
from crossan.train.record.dataset_lock import changed_sequences, sequence_facts
from crossan.train.record.locked_stores import moved_along
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import RunSettings
from crossan.train.settings.tower import Tower

__all__ = ["RunInputs", "open_inputs"]


@dataclass(frozen=True, slots=True)
class RunInputs:
    """What a run reads."""

    settings: RunSettings
    """The run's, with the paths of today."""
    dataset: Dataset
    stores: Mapping[Tower, FeatureStore]
    """At the versions that the run recorded."""
    recorded: RecordedRun

    def warn_if_changed(self, kept: KeptSequences) -> bool:
        """Say whether the dataset has changed since the run was trained, and return it."""
        changed = changed_sequences(self.recorded.run, sequence_facts(kept))
        if changed is not None:
            note(f"the dataset has changed since this run was trained: {changed}")
        return changed is not None


def open_inputs(folder: RunFolder, dataset: Path | None, cache: Path | None) -> RunInputs:
    """Open the dataset and the stores of a run.

    Each is taken from where the user says, else from where the run recorded it,
    else from where it lies if it was moved together with the run. A dataset that
    is not where it was has to be the same, by ``dataset.lock.json``.

    Parameters
    ----------
    folder
        The run.
    dataset, cache
        Folders that the user names, None for none.

    Raises
    ------
    UsageError
        No run there, or one that has read nothing yet, or its dataset is gone.
    StoreNotFoundError
        A store is gone.
    IncompatibleError
        Other data, or another store or version than the run recorded.
    """
    settings = folder.settings()
    stores = folder.locked_stores(cache)
    if stores is None:
        raise UsageError(f"{folder.path}: expected cache.lock.json, found none")
    was_at = Path(settings.data.dataset)
    is_at = dataset or _where_it_lies(was_at, folder)
    paths = {"dataset": str(is_at.absolute()), "cache": _cache_now(settings, folder, cache)}
    data = settings.data.model_copy(update=paths)
    inputs = RunInputs(
        settings.model_copy(update={"data": data}),
        open_dataset(is_at),
        stores,
        RecordedRun(folder.path, may_follow=True),
    )
    if is_at.absolute() != was_at.absolute():
        _require_same_data(inputs)
    if dataset is None and is_at != was_at:
        note(f"{was_at}: no dataset there now; reading {is_at}, which was moved with the run")
    return inputs


def _where_it_lies(was_at: Path, folder: RunFolder) -> Path:
    for path in (was_at, moved_along(was_at, folder.old_path(), folder.path)):
        # Not Path.is_file, which raises where somebody else's folder may not be entered.
        if os.access(path / "dataset.json", os.R_OK):
            return path
    raise UsageError(
        f"{was_at}: expected the dataset that {folder.path} was trained on, found none",
        remedy="Name the folder where it lies now: --dataset FOLDER",
    )


def _cache_now(settings: RunSettings, folder: RunFolder, cache: Path | None) -> str | None:
    """Return the folder of stores, for commands that messages name."""
    if cache is not None or settings.data.cache is None:
        return None if cache is None else str(cache.absolute())
    was_at = Path(settings.data.cache)
    moved = moved_along(was_at, folder.old_path(), folder.path)
    return str(moved if os.access(moved, os.R_OK) and not os.access(was_at, os.R_OK) else was_at)


def _require_same_data(inputs: RunInputs) -> None:
    run, data = inputs.recorded.run, inputs.settings.data
    if data.drop_items:
        kept = keep_served(inputs.dataset, inputs.stores, data, inputs.recorded).kept
    else:
        # Without the stores: other data is no reason to extract it.
        kept = keep_sequences(
            inputs.dataset.interactions(),
            max_items=data.max_items,
            min_items=data.min_items,
            split=data.parted_by,
        )
    changed = changed_sequences(run, sequence_facts(kept))
    if changed is not None:
        raise IncompatibleError(
            f"--dataset {data.dataset}: not the data that {run} was trained on: {changed}",
            remedy="Name the dataset that the run was trained on: --dataset FOLDER",
        )
