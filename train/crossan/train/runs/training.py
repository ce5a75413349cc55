"""One run from settings to ``result.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import note
from crossan.common.datasets import open_dataset
from crossan.common.datasets.protocol import HELD_OUT
from crossan.common.devices import pick_device
from crossan.common.stores import FeatureStore
from crossan.train.evaluation.result import figures_of, rank_everyone, write_ranks
from crossan.train.features import Placement
from crossan.train.features.sources import cache_folder, choose_stores, lock_entries
from crossan.train.loop.saver import Progress
from crossan.train.loop.trainer import TrainingData, fit
from crossan.train.loop.warm_start import require_carried_over
from crossan.train.ranks.ranks import ALONE, Ranks
from crossan.train.record.catalogue_lock import settle_catalogue
from crossan.train.record.checkpoint import load_weights
from crossan.train.record.dataset_lock import sequence_facts, settle_sequences
from crossan.train.record.following import run_folder_of
from crossan.train.record.run_folder import RANKS_FILE, RunFolder
from crossan.train.record.spec import current_spec, exact_kernels
from crossan.train.runs.compute import settle_compute
from crossan.train.runs.facts import training_facts
from crossan.train.runs.opening import OpenedRun, TrainableRun, assemble, best_weights
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.sequences.splits import train_split, validation_split
from crossan.train.settings import HistoryMask, RunSettings

__all__ = ["begun_run", "evaluate_run", "train_model", "train_run"]

RunT = TypeVar("RunT", OpenedRun, TrainableRun)


def train_run(
    settings: RunSettings,
    out: Path,
    *,
    may_resume: bool,
    device: str,
    may_differ: bool = False,
    placement: Placement = Placement(),  # noqa: B008 - frozen
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train a run in ``out`` and return its result, which is also in ``result.json``; only the first rank has one.

    Parameters
    ----------
    settings
        Everything that fixes the run on one machine class.
    out
        The run folder.
    may_resume
        Whether a run that lies there is gone on with.
    device
        Where to compute.
    may_differ
        Whether it may be gone on with on another machine class or with other libraries.
    placement
        Where the hidden states live; no number depends on it.
    ranks
        The processes that train it together.

    Raises
    ------
    CrossanError
        Whatever stops a run: see the modules it is made of.
    """
    begun = begun_run(
        settings,
        out,
        lambda run: run,
        may_resume=may_resume,
        device=device,
        may_differ=may_differ,
        placement=placement,
        ranks=ranks,
    )
    with begun as run:
        reached = train_model(run.without_test(), ranks)
        if not ranks.is_first:
            return {}  # what is left is done once
        load_weights(run.model, best_weights(run.folder, reached.best_epoch), str(run.folder.path))
        result = evaluate_run(run, run.settings.mask_history, should_write=True)
        result |= training_facts(run.model, run.folder, reached)
        run.folder.write_result(result)
    return result


@contextmanager
def begun_run(
    settings: RunSettings,
    out: Path,
    view: Callable[[OpenedRun], RunT],
    *,
    may_resume: bool,
    device: str,
    may_differ: bool,
    placement: Placement,
    ranks: Ranks,
) -> Iterator[RunT]:
    """Load a run and claim its folder for the block; nothing but the view of it is kept.

    Parameters
    ----------
    settings, out, may_resume, device, may_differ, placement, ranks
        As for `train_run`.
    view
        What the block may see of the run.
    """
    if settings.model.content:
        cache_folder(settings.data)  # before anything is read
    dataset = open_dataset(settings.data.dataset)
    folder = run_folder_of(ranks, out)
    chosen = pick_device(device)
    settings = _settle(settings, folder, chosen, ranks, may_resume=may_resume)
    stores: Mapping[Modality, FeatureStore] = {}
    if settings.model.content:
        stores = (folder.locked_stores() if may_resume else None) or choose_stores(
            settings.data, dataset
        )
    entries = lock_entries(stores, settings.model.layers)
    if settings.init is not None and not folder.holds_run():
        require_carried_over(settings, entries, Path(settings.init))
    with exact_kernels():
        placement = replace(placement, sharers=ranks.on_this_machine())
        whole = assemble(settings, folder, dataset, stores, chosen, placement)
        _require_predictions(whole)
        item_ids, facts, run = whole.kept.item_ids, sequence_facts(whole.kept), view(whole)
        del whole
        spec = current_spec(chosen, next(run.model.parameters()).dtype, ranks.count)
        read = {"dataset digest": dataset.digest, "stores": entries}
        ranks.require_same({**spec, **settings.model_dump(mode="json"), **read})
        ranks.from_first(
            lambda: folder.begin(settings, spec, may_resume=may_resume, may_differ=may_differ)
        )
        try:
            folder.lock_stores(entries, stores)
            if run.model.id_embedding is not None:
                ranks.from_first(lambda: settle_catalogue(folder.path, item_ids))
            ranks.from_first(lambda: settle_sequences(folder.path, facts))
            yield run
        finally:
            folder.release()


def _settle(
    settings: RunSettings,
    folder: RunFolder,
    device: torch.device,
    ranks: Ranks,
    *,
    may_resume: bool,
) -> RunSettings:
    """Have the first rank settle what the settings leave open."""
    if ranks.count > 1 and settings.reference:
        raise UsageError(
            "--reference: the plain step is one process's",
            remedy="Train it without torchrun or --engine ray",
        )
    if ranks.count > 1 and settings.objective.kind != "in-batch":
        raise UsageError(
            f"objective.kind: expected in-batch with {ranks.count} ranks, got {settings.objective.kind}",
            remedy="Train it without torchrun or --engine ray",
        )
    if settings.model.compute != "auto":
        return settings
    settled = ranks.from_first(
        lambda: settle_compute(settings, folder, device, may_resume=may_resume).model.compute
    )
    return settings.model_copy(
        update={"model": settings.model.model_copy(update={"compute": settled})}
    )


def _require_predictions(run: OpenedRun) -> None:
    """Refuse sequences of which none has two items beside those held out, before a folder is begun."""
    if np.diff(run.kept.offsets).max() < HELD_OUT + 2:
        raise DataError(
            f"{run.settings.data.dataset}: expected users with {HELD_OUT + 2} interactions or more, two of them to learn from"
            f" beside the {HELD_OUT} held out, found none",
            remedy="Import a dataset with longer histories: crossan data import",
        )


def train_model(run: TrainableRun, ranks: Ranks = ALONE) -> Progress:
    """Train until early stopping and return how far it got; the best weights are in the run folder.

    Raises
    ------
    CrossanError
        Training diverged, or a checkpoint is damaged.
    """
    _announce(run, ranks)
    length, device = run.settings.data.input_length, next(run.model.parameters()).device
    data = TrainingData(
        train_split(run.seen, length),
        validation_split(run.seen, length),
        log_popularity(training_counts(run.seen.training_items, len(run.seen.item_ids))).to(device),
        run.seen.item_ids,
    )
    return fit(run.model, run.features, data, run.settings, run.folder, ranks)


def evaluate_run(
    run: OpenedRun, mask_history: HistoryMask, *, should_write: bool = False
) -> dict[str, Any]:
    """Rank validation and test targets over the whole catalogue, popularity beside them.

    Parameters
    ----------
    run
        The run with the weights to judge.
    mask_history
        Which of a user's items before the target are left out.
    should_write
        Whether ``eval/per_user.parquet`` is written.
    """
    ranked = rank_everyone(
        run.model, run.features, run.kept, run.settings.data.input_length, mask_history
    )
    if should_write:
        write_ranks(ranked, run.folder.path / RANKS_FILE)
    return {"run": str(run.folder.path), **figures_of(ranked)}


def _announce(run: TrainableRun, ranks: Ranks) -> None:
    parts = [modality.value for modality in run.features.modalities]
    if parts:
        parts.append(f"{run.features.layer_count} kept layers")
    if run.model.id_embedding is not None:
        parts.append("a vector per item id")
    note(
        f"{len(run.seen.user_ids):,} users, {len(run.seen.item_ids):,} items, {', '.join(parts)};"
        f" {run.model.trainable_parameter_count():,} trainable parameters"
        + (f"; {ranks.count} ranks" if ranks.count > 1 else "")
    )
    lacking = zip(
        run.features.modalities, (~run.features.presence).sum(dim=0).tolist(), strict=True
    )
    if run.features.modalities:
        note(
            "items without: "
            + ", ".join(f"{modality.value} {count:,}" for modality, count in lacking)
        )
