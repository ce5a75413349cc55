"""One run from settings to ``result.json``, and a finished run opened again."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import note
from crossan.common.datasets import Dataset, KeptSequences, open_dataset
from crossan.common.stores import FeatureStore
from crossan.train.checkpoint import BEST, load_weights
from crossan.train.compute import settle_compute
from crossan.train.evaluation import ITEMS_PER_BLOCK
from crossan.train.features import Demand, Features, Placement, StoredStates, place_features
from crossan.train.figures import figures_of, rank_everyone, write_ranks
from crossan.train.model import Crossan
from crossan.train.popularity import log_popularity, training_counts
from crossan.train.run_folder import RunFolder
from crossan.train.settings import HistoryMask, RunSettings
from crossan.train.sources import choose_stores, keep_served, lock_entries
from crossan.train.spec import current_spec, exact_kernels
from crossan.train.splits import train_split, validation_split
from crossan.train.trainer import TrainingData, fit
from crossan.train.warm_start import require_carried_over

__all__ = ["OpenedRun", "evaluate_run", "open_run", "train_run"]


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run's settings with everything they name loaded."""

    folder: RunFolder
    settings: RunSettings
    dataset: Dataset
    kept: KeptSequences
    features: Features
    model: Crossan


def train_run(
    settings: RunSettings,
    out: Path,
    *,
    may_resume: bool,
    device: str,
    may_differ: bool = False,
    placement: Placement = Placement(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Train a run in ``out`` and return its result, which is also in ``result.json``.

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

    Raises
    ------
    CrossanError
        Whatever stops a run: see the modules it is made of.
    """
    dataset = open_dataset(settings.data.dataset)
    folder = RunFolder(out)
    chosen = pick_device(device)
    settings = settle_compute(settings, folder, chosen, may_resume=may_resume)
    stores = (folder.locked_stores() if may_resume else None) or choose_stores(settings.data, dataset)
    entries = lock_entries(stores, settings.model.layers)
    if settings.init is not None and not folder.holds_run():
        require_carried_over(settings, entries, Path(settings.init))
    with exact_kernels():
        run = _assemble(settings, folder, dataset, stores, chosen, placement)
        spec = current_spec(chosen, next(run.model.parameters()).dtype)
        folder.begin(settings, spec, may_resume=may_resume, may_differ=may_differ)
        try:
            folder.lock_stores(entries, stores)
            return _train(run, chosen)
        finally:
            folder.release()


def _train(run: OpenedRun, device: torch.device) -> dict[str, Any]:
    settings, folder = run.settings, run.folder
    _announce(run)
    length = settings.data.input_length
    data = TrainingData(
        train_split(run.kept, length),
        validation_split(run.kept, length),
        log_popularity(training_counts(run.kept.training_items, len(run.kept.item_ids))).to(device),
        run.kept.item_ids,
    )
    reached = fit(run.model, run.features, data, settings, folder)
    load_weights(run.model, _best_weights(folder, reached.best_epoch), str(folder.path))
    result = evaluate_run(run, settings.mask_history, should_write=True)
    result |= {
        "trainable_parameters": run.model.trainable_parameter_count(),
        "init": folder.initial(),
        "epochs": reached.epoch,
        "best_epoch": reached.best_epoch,
        "seconds_per_epoch": reached.seconds / reached.epoch,
        "peak_memory_bytes": _peak_memory(device),
    }
    folder.write_result(result)
    return result


def open_run(
    path: Path,
    *,
    device: str = "auto",
    permute_seed: int | None = None,
    placement: Placement = Placement(),  # noqa: B008 - frozen
) -> OpenedRun:
    """Open a run with the weights of its best epoch.

    Parameters
    ----------
    path
        The run folder.
    device
        Where to load it.
    permute_seed
        Shuffle the hidden states between items, for this evaluation alone.
    placement
        Where they live; no number depends on it.

    Raises
    ------
    UsageError
        No run there, or none that finished an epoch.
    """
    folder = RunFolder(path)
    settings = folder.settings()
    stores = folder.locked_stores()
    best = folder.best_checkpoint()
    if stores is None:
        raise UsageError(f"{path}: expected cache.lock.json, found none")
    dataset, chosen = open_dataset(settings.data.dataset), pick_device(device)
    permuted = () if permute_seed is None else (permute_seed,)
    run = _assemble(settings, folder, dataset, stores, chosen, placement, permuted, is_training=False)
    load_weights(run.model, best.tensors["model"], str(path))
    return run


def evaluate_run(run: OpenedRun, mask_history: HistoryMask, *, should_write: bool = False) -> dict[str, Any]:
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
    ranked = rank_everyone(run.model, run.features, run.kept, run.settings.data.input_length, mask_history)
    if should_write:
        write_ranks(ranked, run.folder.path / "eval" / "per_user.parquet")
    return {"run": str(run.folder.path), **figures_of(ranked)}


def pick_device(device: str) -> torch.device:
    """Return the device asked for; ``auto`` takes an accelerator where there is one.

    Raises
    ------
    UsageError
        It is not to be had here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"--device {device}: not to be had here: {first}", remedy="Use --device auto or --device cpu"
        ) from None
    return torch.device(device)


def _assemble(
    settings: RunSettings,
    folder: RunFolder,
    dataset: Dataset,
    stores: Mapping[Modality, FeatureStore],
    device: torch.device,
    placement: Placement,
    permute_seeds: Sequence[int] = (),
    *,
    is_training: bool = True,
) -> OpenedRun:
    kept = keep_served(dataset, dict(stores), settings.data)
    features = _load_features(settings, stores, kept, device, placement, permute_seeds, is_training=is_training)
    if settings.model.top_k > len(features.modalities):
        count = len(features.modalities)
        raise UsageError(
            f"model.top_k: expected at most {count}, the modalities in use, got {settings.model.top_k}",
            remedy=f"--set model.top_k={count}",
        )
    torch.manual_seed(settings.seed)
    model = Crossan.build(features.dims, features.layer_count, settings.data.input_length, settings.model)
    return OpenedRun(folder, settings, dataset, kept, features, model.to(device))


def _load_features(
    settings: RunSettings,
    stores: Mapping[Modality, FeatureStore],
    kept: KeptSequences,
    device: torch.device,
    placement: Placement,
    permute_seeds: Sequence[int],
    *,
    is_training: bool,
) -> Features:
    own = settings.features.permute_seed
    seeds = (*(() if own is None else (own,)), *permute_seeds)
    stored = StoredStates(stores, kept.item_ids, settings.model.layers, seeds)
    if settings.features.storage == "int8":
        for modality, (mean, largest) in stored.pack().items():
            note(f"features.storage=int8: {modality.value} with a relative error of {mean:.2%}, {largest:.2%} at most")
    positions = settings.batch_size * (settings.data.input_length + 1)
    counts = training_counts(kept.training_items, stored.item_count)
    in_batches = positions if settings.reference else min(positions, int(np.count_nonzero(counts)))
    demand = Demand(
        rows_at_once=max(ITEMS_PER_BLOCK, in_batches if is_training else 0),
        counts=counts if is_training else None,
        other_bytes=kept.item_ids.nbytes + 4 * settings.model.width * stored.item_count,
    )
    return place_features(stored, placement, device, demand)


def _best_weights(folder: RunFolder, epoch: int) -> Mapping[str, torch.Tensor]:
    best = folder.best_checkpoint()
    if best.state.get("epoch") != epoch:
        raise StoreIntegrityError(
            f"{folder.path}: expected the weights of epoch {epoch} in checkpoints/{BEST}, found those of epoch"
            f" {best.state.get('epoch')}",
            remedy="Resume it with the max_epochs and patience it had before",
        )
    return best.tensors["model"]


def _announce(run: OpenedRun) -> None:
    names = ", ".join(modality.value for modality in run.features.modalities)
    note(
        f"{len(run.kept.user_ids):,} users, {len(run.kept.item_ids):,} items, {names}, {run.features.layer_count} kept layers;"
        f" {run.model.trainable_parameter_count():,} trainable parameters"
    )
    lacking = (~run.features.presence).sum(dim=0).tolist()
    note(
        "items without: " + ", ".join(f"{m.value} {n:,}" for m, n in zip(run.features.modalities, lacking, strict=True))
    )


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
