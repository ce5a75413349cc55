"""One run from settings to ``result.json``, and a finished run opened again."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import note
from crossan.common.datasets import Dataset, KeptSequences, open_dataset
from crossan.common.stores import FeatureStore
from crossan.train.checkpoint import BEST, load_weights
from crossan.train.compute import settle_compute
from crossan.train.distributed.following import run_folder_of
from crossan.train.distributed.ranks import ALONE, Ranks
from crossan.train.features import FeatureTable, load_features
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
    features: FeatureTable
    model: Crossan


def train_run(
    settings: RunSettings, out: Path, *, may_resume: bool, device: str, may_differ: bool = False, ranks: Ranks = ALONE
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
    ranks
        The processes that train it together.

    Raises
    ------
    CrossanError
        Whatever stops a run: see the modules it is made of.
    """
    dataset = open_dataset(settings.data.dataset)
    folder = run_folder_of(ranks, out)
    chosen = pick_device(device)
    settings = _settle(settings, folder, chosen, ranks, may_resume=may_resume)
    stores = (folder.locked_stores() if may_resume else None) or choose_stores(settings.data, dataset)
    entries = lock_entries(stores, settings.model.layers)
    if settings.init is not None and not folder.holds_run():
        require_carried_over(settings, entries, Path(settings.init))
    with exact_kernels():
        run = _assemble(settings, folder, dataset, stores, chosen)
        spec = current_spec(chosen, next(run.model.parameters()).dtype, ranks.count)
        read = {"dataset digest": dataset.digest, "stores": entries}
        ranks.require_same({**spec, **settings.model_dump(mode="json"), **read})
        ranks.from_first(lambda: folder.begin(settings, spec, may_resume=may_resume, may_differ=may_differ))
        try:
            folder.lock_stores(entries, stores)
            return _train(run, chosen, ranks)
        finally:
            folder.release()


def _settle(
    settings: RunSettings, folder: RunFolder, device: torch.device, ranks: Ranks, *, may_resume: bool
) -> RunSettings:
    """Have the first rank settle what the settings leave open."""
    if ranks.count > 1 and settings.reference:
        raise UsageError(
            "--reference: the plain step is one process's", remedy="Train it without torchrun or --engine ray"
        )
    if settings.model.compute != "auto":
        return settings
    settled = ranks.from_first(lambda: settle_compute(settings, folder, device, may_resume=may_resume).model.compute)
    return settings.model_copy(update={"model": settings.model.model_copy(update={"compute": settled})})


def _train(run: OpenedRun, device: torch.device, ranks: Ranks) -> dict[str, Any]:
    settings, folder = run.settings, run.folder
    _announce(run, ranks)
    length = settings.data.input_length
    data = TrainingData(
        train_split(run.kept, length),
        validation_split(run.kept, length),
        log_popularity(training_counts(run.kept.training_items, len(run.kept.item_ids))).to(device),
        run.kept.item_ids,
    )
    reached = fit(run.model, run.features, data, settings, folder, ranks)
    if not ranks.is_first:
        return {}  # what is left is done once
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


def open_run(path: Path, *, device: str = "auto", permute_seed: int | None = None) -> OpenedRun:
    """Open a run with the weights of its best epoch.

    Parameters
    ----------
    path
        The run folder.
    device
        Where to load it.
    permute_seed
        Shuffle the hidden states between items, for this evaluation alone.

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
    run = _assemble(settings, folder, open_dataset(settings.data.dataset), stores, pick_device(device))
    load_weights(run.model, best.tensors["model"], str(path))
    if permute_seed is None:
        return run
    return OpenedRun(folder, settings, run.dataset, run.kept, run.features.permuted(permute_seed), run.model)


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
) -> OpenedRun:
    kept = keep_served(dataset, dict(stores), settings.data)
    features = load_features(dict(stores), kept.item_ids, settings.model.layers)
    if settings.model.top_k > len(features.modalities):
        count = len(features.modalities)
        raise UsageError(
            f"model.top_k: expected at most {count}, the modalities in use, got {settings.model.top_k}",
            remedy=f"--set model.top_k={count}",
        )
    if settings.features.permute_seed is not None:
        features = features.permuted(settings.features.permute_seed)
    torch.manual_seed(settings.seed)
    model = Crossan.build(features.dims, features.layer_count, settings.data.input_length, settings.model)
    return OpenedRun(folder, settings, dataset, kept, features.to(device), model.to(device))


def _best_weights(folder: RunFolder, epoch: int) -> Mapping[str, torch.Tensor]:
    best = folder.best_checkpoint()
    if best.state.get("epoch") != epoch:
        raise StoreIntegrityError(
            f"{folder.path}: expected the weights of epoch {epoch} in checkpoints/{BEST}, found those of epoch"
            f" {best.state.get('epoch')}",
            remedy="Resume it with the max_epochs and patience it had before",
        )
    return best.tensors["model"]


def _announce(run: OpenedRun, ranks: Ranks) -> None:
    names = ", ".join(modality.value for modality in run.features.modalities)
    note(
        f"{len(run.kept.user_ids):,} users, {len(run.kept.item_ids):,} items, {names}, {run.features.layer_count} kept layers;"
        f" {run.model.trainable_parameter_count():,} trainable parameters"
        + (f"; {ranks.count} ranks" if ranks.count > 1 else "")
    )
    lacking = (~run.features.presence).sum(dim=0).tolist()
    note(
        "items without: " + ", ".join(f"{m.value} {n:,}" for m, n in zip(run.features.modalities, lacking, strict=True))
    )


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
