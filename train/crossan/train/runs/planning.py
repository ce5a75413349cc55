"""From settings to a run that can begin, with everything checked and nothing written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from crossan.cache_schema.errors import DataError
from crossan.common.datasets import open_dataset
from crossan.common.datasets.protocol import HELD_OUT
from crossan.common.devices import pick_device
from crossan.common.stores import FeatureStore
from crossan.common.stores.pins import LOCK_FILE
from crossan.train.features.choosing import choose_stores
from crossan.train.features.sources import (
    RecordedRun,
    Served,
    cache_folder,
    lock_entries,
)
from crossan.train.features.standardise import as_tensors
from crossan.train.loop.mixing import is_mixed
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.loop.warm_start import require_carried_over
from crossan.train.models.item_encoder import require_single_stores
from crossan.train.models.recommender import belongs_to_items
from crossan.train.record.backbone_lock import settle_backbones
from crossan.train.record.catalogue_lock import settle_catalogue
from crossan.train.record.dataset_lock import sequence_facts, settle_sequences
from crossan.train.record.following import run_folder_of
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.spec import Spec, current_spec, exact_kernels
from crossan.train.record.statistics import statistics_digest, write_statistics
from crossan.train.runs.admitting import admit
from crossan.train.runs.compute import settle_compute
from crossan.train.runs.contents import Comparing, Verdicts, serve
from crossan.train.runs.launch import Launch
from crossan.train.runs.of_runs import require_same_runs
from crossan.train.runs.opening import OpenedRun, assemble
from crossan.train.runs.raw_serving import another_run, lock_backbones, serve_media
from crossan.train.settings import RunSettings
from crossan.train.settings.tower import Tower

__all__ = ["RunPlan", "claim", "hold", "plan_run"]

RunT = TypeVar("RunT", OpenedRun, TrainableRun, RefitRun)


@dataclass(frozen=True, slots=True)
class RunPlan(Generic[RunT]):
    """A run that is loaded and checked, with what its folder will record."""

    run: RunT
    launch: Launch
    spec: Spec
    stores: Mapping[Tower, FeatureStore]
    store_entries: Mapping[str, Mapping[str, Any]]
    """What ``cache.lock.json`` will say of the stores, by modality."""
    sequence_facts: Mapping[str, int | str]
    """What ``dataset.lock.json`` will say of the sequences."""
    item_ids: np.ndarray
    """The catalogue, ``(items,)``."""
    verdicts: Verdicts
    """How the contents of its items compare with the stores."""
    statistics: Mapping[str, torch.Tensor]
    """What its layers are standardised by, empty where they are read as they are stored."""
    backbones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What ``backbones.lock.json`` will say of the backbones that are trained, by modality."""

    def without_test(self: RunPlan[OpenedRun]) -> RunPlan[TrainableRun]:
        """Return the plan of the same run with no test target in reach."""
        return RunPlan(
            self.run.without_test(),
            self.launch,
            self.spec,
            self.stores,
            self.store_entries,
            self.sequence_facts,
            self.item_ids,
            self.verdicts,
            self.statistics,
            self.backbones,
        )


def plan_run(settings: RunSettings, out: Path, launch: Launch) -> RunPlan[OpenedRun]:
    """Load everything that a run reads and check it, without writing anything.

    Parameters
    ----------
    settings
        Everything that fixes the run on one machine class.
    out
        The run folder.
    launch
        Where it is trained, by whom, and whether it may continue a run that lies there.

    Raises
    ------
    CrossanError
        Settings that do not fit, or a dataset, stores or a device that are not as they ask.
    """
    folder = run_folder_of(launch.ranks, out)
    admit(settings, folder, launch)
    reads_stores = settings.model.reads_hidden_states
    if reads_stores:
        cache_folder(settings.data)  # before anything is read
    dataset = open_dataset(settings.data.dataset)
    device = pick_device(launch.device)
    settings = settle_compute(settings, folder, device, launch)
    stores: Mapping[Tower, FeatureStore] = {}
    if reads_stores:
        recorded = None
        if launch.may_resume and folder.holds_run():
            cache = settings.anywhere().data.cache
            has_moved = cache is not None and cache != folder.settings().data.cache
            recorded = folder.locked_stores(Path(cache) if cache and has_moved else None)
        stores = recorded or choose_stores(settings.data, dataset)
        require_single_stores(settings.model, stores)
    entries = lock_entries(stores, settings.model.kept_layers())
    if settings.init is not None and not folder.holds_run():
        require_carried_over(settings, entries, Path(settings.init))
    # The ranks of one machine share its memory.
    placement = replace(launch.placement, sharers=launch.ranks.on_this_machine())
    comparing = Comparing(launch.may_be_stale, launch.compared, launch.ranks)
    if settings.model.reads_media:
        serving: tuple[Served, Verdicts] = serve_media(settings, dataset, launch.ranks), {}
    else:
        serving = serve(dataset, stores, settings.data, _recorded(folder, stores), comparing)
    run = assemble(settings, folder, dataset, serving, device, placement)
    _require_predictions(run)
    spec = current_spec(device, _dtype_of(run.model), launch.ranks.count)
    if settings.model.reads_media:
        spec["transformers"] = version("transformers")  # whose code makes the numbers, too
    statistics = as_tensors(run.standardisers or {})
    backbones = lock_backbones(serving[0])
    read: dict[str, Any] = {
        "dataset digest": dataset.digest,
        "stores": entries,
        "statistics of the layers": statistics_digest(statistics),
        "backbones": backbones,
    }
    launch.ranks.require_same({**spec, **settings.model_dump(mode="json"), **read})
    facts = sequence_facts(run.kept)
    if settings.model.is_of_runs and not is_mixed(folder):
        require_same_runs(settings, entries, facts)
    return RunPlan(
        run,
        launch,
        spec,
        stores,
        entries,
        facts,
        run.kept.item_ids,
        run.verdicts,
        statistics,
        backbones,
    )


@contextmanager
def claim(plan: RunPlan[RunT]) -> Iterator[None]:
    """Hold the run folder for the block and record in it what the run reads.

    Within the block torch uses only kernels whose results repeat, unless no step is taken.

    Raises
    ------
    UsageError
        The folder is not empty, or holds a run of other settings.
    IncompatibleError
        It holds a run of another spec, or of other sequences or items.
    BusyError
        Another process trains in it.
    """
    folder, launch = plan.run.folder, plan.launch
    first = launch.ranks.from_first
    first(
        lambda: folder.begin(
            plan.run.settings,
            plan.spec,
            may_resume=launch.may_resume,
            may_differ=launch.may_differ,
        )
    )
    try:
        folder.lock_stores(plan.store_entries, plan.stores)
        _settle_data(plan)
        if plan.statistics:
            first(lambda: write_statistics(folder.path, plan.statistics))
        # To ask torch for them costs seconds, and it is training that needs them.
        with exact_kernels() if plan.run.settings.model.is_trained_by_steps else nullcontext():
            yield
    finally:
        folder.release()


@contextmanager
def hold(plan: RunPlan[OpenedRun]) -> Iterator[None]:
    """Hold the folder of a finished run for the block, and change nothing in it.

    Raises
    ------
    UsageError
        The run has other settings.
    IncompatibleError
        It was trained on other sequences or items.
    BusyError
        Another process trains in its folder.
    """
    folder = plan.run.folder
    plan.launch.ranks.from_first(lambda: folder.hold(plan.run.settings))
    try:
        _settle_data(plan)
        yield
    finally:
        folder.release()


def _settle_data(plan: RunPlan[RunT]) -> None:
    """Record the items and sequences of a run, or compare them with those that are recorded."""
    folder, first = plan.run.folder.path, plan.launch.ranks.from_first
    remedy = another_run(plan.run.settings, folder)
    if belongs_to_items(plan.run.model):
        first(lambda: settle_catalogue(folder, plan.item_ids, remedy))
    first(lambda: settle_sequences(folder, plan.sequence_facts, remedy))
    may_be_stale = plan.launch.may_be_stale
    first(lambda: settle_backbones(folder, plan.backbones, remedy, may_be_stale=may_be_stale))


def _recorded(folder: RunFolder, stores: Mapping[Tower, FeatureStore]) -> RecordedRun | None:
    """Return the run in a folder, None unless training resumes the versions that it recorded."""
    if not (folder.path / LOCK_FILE).is_file():
        return None
    entries = folder.lock()["stores"]
    # Not by path: the stores may have been moved since.
    recorded = {name: (entry["fingerprint"], entry["version"]) for name, entry in entries.items()}
    opened = {
        modality.value: (store.fingerprint, store.version) for modality, store in stores.items()
    }
    return RecordedRun(folder.path, may_follow=False) if opened == recorded else None


def _dtype_of(model: nn.Module) -> torch.dtype:
    """Return the dtype of a model, of which one that only counts has buffers alone."""
    return next(chain(model.parameters(), model.buffers())).dtype


def _require_predictions(run: OpenedRun) -> None:
    """Refuse sequences of which no training part has two items."""
    least = HELD_OUT + 2
    if max(map(len, run.kept.without_test().training_parts())) < 2:
        raise DataError(
            f"{run.settings.data.dataset}: expected users with {least} interactions or more, two"
            f" of them to learn from beside the {HELD_OUT} held out, found none",
            remedy="Import a dataset with longer histories: crossan data import",
        )
