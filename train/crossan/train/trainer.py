"""The training loop: epochs over users, early stopping on validation HR@10, a checkpoint after every epoch."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossan.cache_schema.errors import CrossanError
from crossan.common.console import note, progress
from crossan.train.checkpoint import Checkpoint, optimiser_tensors, restore_optimiser
from crossan.train.evaluation import encode_items, split_ranks
from crossan.train.features import FeatureTable
from crossan.train.loss import PADDING
from crossan.train.metrics import summarise
from crossan.train.model import Crossan
from crossan.train.run_folder import RunFolder
from crossan.train.settings import OptimiserSettings, RunSettings
from crossan.train.splits import TrainSplit, ValidationSplit
from crossan.train.step import loss_by_position, loss_of_batch

__all__ = ["Progress", "TrainingDivergedError", "fit"]

_SEED_STRIDE = 1_000_003
"""Keeps the random streams of neighbouring seeds apart."""


class TrainingDivergedError(CrossanError):
    """The loss is no longer a number; the last finite checkpoint is kept."""


@dataclass(slots=True)
class Progress:
    """Where training stands after an epoch; everything a resumed run must know besides its tensors."""

    epoch: int = 0
    """Epochs done."""
    best_epoch: int = 0
    best_hr: float = -1.0
    """Validation HR@10 of the best epoch."""
    seconds: float = 0.0
    """Time in epochs so far, validation included."""

    def is_over(self, settings: RunSettings) -> bool:
        """Whether the epochs are used up or nothing improved for ``patience`` of them."""
        return self.epoch >= settings.max_epochs or self.epoch - self.best_epoch >= settings.patience


def fit(
    model: Crossan,
    features: FeatureTable,
    train: TrainSplit,
    validation: ValidationSplit,
    log_popularity: Tensor,
    settings: RunSettings,
    run: RunFolder,
) -> Progress:
    """Train until early stopping, going on from the run folder's newest checkpoint where there is one.

    Every random choice follows from the seed and the epoch number alone, so
    that a run resumed after any epoch equals one that was never interrupted.

    Raises
    ------
    TrainingDivergedError
        The loss became NaN or infinite.
    """
    optimiser = _make_optimiser(model, settings.optimiser)
    reached = _resume(model, optimiser, run)
    while not reached.is_over(settings):
        epoch, start = reached.epoch + 1, time.monotonic()
        loss = _run_epoch(model, optimiser, features, train, log_popularity, settings, epoch)
        ranks = split_ranks(model, encode_items(model, features), validation, settings.mask_history)
        valid = summarise(ranks)
        seconds = time.monotonic() - start
        is_best = valid["hr@10"] > reached.best_hr
        if is_best:
            reached.best_epoch, reached.best_hr = epoch, valid["hr@10"]
        reached.epoch, reached.seconds = epoch, reached.seconds + seconds
        run.append_metrics({"epoch": epoch, "loss": loss, "valid": valid, "seconds": seconds, "is_best": is_best})
        _save(model, optimiser, run, reached, is_best=is_best)
        _say(settings, reached, loss, valid, seconds)
    return reached


def _make_optimiser(model: Crossan, settings: OptimiserSettings) -> torch.optim.Optimizer:
    towers = list(model.item_encoder.towers.parameters())
    own = {id(parameter) for parameter in towers}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
    groups = [{"params": towers, "lr": settings.adapter_lr}, {"params": rest, "lr": settings.lr}]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)


def _run_epoch(
    model: Crossan,
    optimiser: torch.optim.Optimizer,
    features: FeatureTable,
    train: TrainSplit,
    log_popularity: Tensor,
    settings: RunSettings,
    epoch: int,
) -> float:
    """Take one step per batch of users and return the mean loss."""
    loss_of = loss_by_position if settings.reference else loss_of_batch
    model.train()
    torch.manual_seed(settings.seed * _SEED_STRIDE + epoch)
    order = torch.from_numpy(np.random.default_rng([settings.seed, epoch]).permutation(len(train.sequences)))
    losses = []
    with progress(f"epoch {epoch}", len(order), "users") as shown:
        for step, users in enumerate(order.split(settings.batch_size), 1):
            sequences = train.sequences[users]
            loss = loss_of(model, features, sequences, log_popularity)
            value = loss.item()
            if not math.isfinite(value):
                raise TrainingDivergedError(
                    f"the loss became {value} in epoch {epoch}, step {step} ({len(sequences[sequences != PADDING].unique()):,} items);"
                    f" the checkpoint of epoch {epoch - 1} is kept",
                    remedy="Start a run with smaller rates: --set optimiser.lr=... --set optimiser.adapter_lr=...",
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(value)
            shown.advance(len(users), f"loss {value:.3f}")
    return sum(losses) / len(losses)


def _resume(model: Crossan, optimiser: torch.optim.Optimizer, run: RunFolder) -> Progress:
    newest = run.newest_checkpoint()
    if newest is None:
        run.truncate_metrics(0)
        return Progress()
    model.load_state_dict(newest.tensors["model"])
    restore_optimiser(optimiser, newest.tensors["optimiser"])
    reached = Progress(**newest.state["progress"])
    run.truncate_metrics(reached.epoch)
    note(f"going on after epoch {reached.epoch}")
    return reached


def _save(
    model: Crossan, optimiser: torch.optim.Optimizer, run: RunFolder, reached: Progress, *, is_best: bool
) -> None:
    weights = model.state_dict()
    state: dict[str, Any] = {"progress": asdict(reached)}
    if is_best:  # before the newest: a crash between the two repeats this epoch and writes the same again
        run.save_checkpoint("best", Checkpoint({"model": weights}, state))
    run.save_checkpoint("last", Checkpoint({"model": weights, "optimiser": optimiser_tensors(optimiser)}, state))


def _say(settings: RunSettings, reached: Progress, loss: float, valid: dict[str, float], seconds: float) -> None:
    left = (settings.max_epochs - reached.epoch) * reached.seconds / reached.epoch
    note(
        f"epoch {reached.epoch}/{settings.max_epochs}: loss {loss:.4f}, valid hr@10 {valid['hr@10']:.4f}"
        f" ndcg@10 {valid['ndcg@10']:.4f}, {seconds:.1f} s, best epoch {reached.best_epoch}, at most {left:.0f} s left"
    )
