"""One run from settings to ``result.json``, and a finished run opened again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import note
from crossan.common.datasets import Dataset, KeptSequences, SelectionSequences, open_dataset
from crossan.common.stores import FeatureStore
from crossan.train.catalogue import read_catalogue, settle_catalogue
from crossan.train.checkpoint import BEST, load_weights
from crossan.train.compute import settle_compute
from crossan.train.distributed.following import run_folder_of
from crossan.train.distributed.ranks import ALONE, Ranks
from crossan.train.features import FeatureTable, load_features
from crossan.train.figures import figures_of, rank_everyone, training_facts, write_ranks
from crossan.train.id_embedding import carry_rows
from crossan.train.model import Crossan
from crossan.train.popularity import log_popularity, training_counts
from crossan.train.run_folder import RunFolder
from crossan.train.saver import Progress
from crossan.train.settings import HistoryMask, RunSettings
from crossan.train.sources import cache_folder, choose_stores, keep_served, lock_entries, require_choice
from crossan.train.spec import current_spec, exact_kernels
from crossan.train.splits import train_split, validation_split
from crossan.train.trainer import TrainingData, fit
from crossan.train.warm_start import require_carried_over

__all__ = [
    "OpenedRun",
    "TrainableRun",
    "begun_run",
    "best_weights",
    "evaluate_run",
    "open_run",
    "train_model",
    "train_run",
]


@dataclass(frozen=True, slots=True)
class TrainableRun:
    """What training and selecting see of a run: nothing here leads to a test target."""

    folder: RunFolder
    settings: RunSettings
    seen: SelectionSequences
    features: FeatureTable
    model: Crossan


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run's settings with everything they name loaded."""

    folder: RunFolder
    settings: RunSettings
    dataset: Dataset
    kept: KeptSequences
    features: FeatureTable
    model: Crossan

    def without_test(self) -> TrainableRun:
        """Return the part of it that training may see."""
        return TrainableRun(self.folder, self.settings, self.kept.without_test(), self.features, self.model)


RunT = TypeVar("RunT", OpenedRun, TrainableRun)


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
    begun = begun_run(
        settings, out, lambda run: run, may_resume=may_resume, device=device, may_differ=may_differ, ranks=ranks
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
    ranks: Ranks = ALONE,
) -> Iterator[RunT]:
    """Load a run and claim its folder for the block; nothing but the view of it is kept.

    Parameters
    ----------
    settings, out, may_resume, device, may_differ, ranks
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
        stores = (folder.locked_stores() if may_resume else None) or choose_stores(settings.data, dataset)
    entries = lock_entries(stores, settings.model.layers)
    if settings.init is not None and not folder.holds_run():
        require_carried_over(settings, entries, Path(settings.init))
    with exact_kernels():
        whole = _assemble(settings, folder, dataset, stores, chosen)
        item_ids, run = whole.kept.item_ids, view(whole)
        del whole
        spec = current_spec(chosen, next(run.model.parameters()).dtype, ranks.count)
        read = {"dataset digest": dataset.digest, "stores": entries}
        ranks.require_same({**spec, **settings.model_dump(mode="json"), **read})
        ranks.from_first(lambda: folder.begin(settings, spec, may_resume=may_resume, may_differ=may_differ))
        try:
            folder.lock_stores(entries, stores)
            if run.model.id_embedding is not None:
                ranks.from_first(lambda: settle_catalogue(folder.path, item_ids))
            yield run
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
    if ranks.count > 1 and settings.objective.kind != "in-batch":
        raise UsageError(
            f"objective.kind: expected in-batch with {ranks.count} ranks, got {settings.objective.kind}",
            remedy="Train it without torchrun or --engine ray",
        )
    if settings.model.compute != "auto":
        return settings
    settled = ranks.from_first(lambda: settle_compute(settings, folder, device, may_resume=may_resume).model.compute)
    return settings.model_copy(update={"model": settings.model.model_copy(update={"compute": settled})})


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
    weights = best.tensors["model"]
    if run.model.id_embedding is not None:  # what the dataset gained since is known by its content alone
        nothing = torch.zeros_like(run.model.id_embedding.weight, device="cpu")
        weights = carry_rows(weights, read_catalogue(path), nothing, run.kept.item_ids)
    load_weights(run.model, weights, str(path))
    if permute_seed is None:
        return run
    if not settings.model.content:
        raise UsageError(f"--permute-features: {path} reads no features: it was trained with model.content=false")
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
    if settings.model.content:
        features = _load(settings, stores, kept)
    else:
        features = FeatureTable.without_content(len(kept.item_ids))
    torch.manual_seed(settings.seed)
    is_trained = torch.from_numpy(training_counts(kept.training_items, len(kept.item_ids)) > 0)
    model = Crossan.build(features.dims, features.layer_count, settings.data.input_length, settings.model, is_trained)
    return OpenedRun(folder, settings, dataset, kept, features.to(device), model.to(device))


def _load(settings: RunSettings, stores: Mapping[Modality, FeatureStore], kept: KeptSequences) -> FeatureTable:
    features = load_features(dict(stores), kept.item_ids, settings.model.layers)
    require_choice(settings.model.top_k, len(features.modalities))
    seed = settings.features.permute_seed
    return features if seed is None else features.permuted(seed)


def best_weights(folder: RunFolder, epoch: int) -> Mapping[str, torch.Tensor]:
    """Return the weights of the best epoch.

    Raises
    ------
    StoreIntegrityError
        They are damaged, or those of another epoch.
    """
    best = folder.best_checkpoint()
    if best.state.get("epoch") != epoch:
        raise StoreIntegrityError(
            f"{folder.path}: expected the weights of epoch {epoch} in checkpoints/{BEST}, found those of epoch"
            f" {best.state.get('epoch')}",
            remedy="Resume it with the max_epochs and patience it had before",
        )
    return best.tensors["model"]


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
    lacking = zip(run.features.modalities, (~run.features.presence).sum(dim=0).tolist(), strict=True)
    if run.features.modalities:
        note("items without: " + ", ".join(f"{modality.value} {count:,}" for modality, count in lacking))
