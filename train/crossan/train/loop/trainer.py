"""The training loop: steps over users, early stopping on validation HR@10, resumable after any step."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from crossan.common.console import note, progress
from crossan.common.interrupts import TERMINATED, ToldToEnd, finishing_on
from crossan.train.evaluation.encoding import EvaluationStoppedError, encode_items, split_ranks
from crossan.train.evaluation.metrics import summarise
from crossan.train.evaluation.together import encode_items_together
from crossan.train.features import Features
from crossan.train.features.prefetch import prepared_ahead
from crossan.train.loop.gradient_sum import GradientSum, seed_step
from crossan.train.loop.loss_window import LossWindow, TrainingDivergedError, first_divergence
from crossan.train.loop.optimiser import make_optimiser
from crossan.train.loop.saver import Progress, Saver
from crossan.train.loop.warm_start import load_initial_weights
from crossan.train.models.sequence_model import Crossan
from crossan.train.objectives import make_objective
from crossan.train.objectives.step import Prepared
from crossan.train.ranks.ranks import ALONE, Ranks
from crossan.train.record.run_folder import RunFolder
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.splits import TrainSplit, ValidationSplit
from crossan.train.settings import RunSettings

__all__ = ["TrainingData", "fit"]

_SEED_STRIDE = 1_000_003
"""Keeps the random streams of neighbouring seeds apart."""
_ITEMS_NAMED = 10
"""Items of a diverged batch that its error names; all of them stand in ``divergence.json``."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is learned from, and what tells when to stop."""

    train: TrainSplit
    validation: ValidationSplit
    log_popularity: Tensor
    """Log p of the whole catalogue, ``(items,)``, where the model computes."""
    item_ids: np.ndarray
    """The catalogue, ``(items,)``."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """The users of a step, with everything that can be prepared done."""

    user_count: int
    loss: Prepared


def fit(
    model: Crossan,
    features: Features,
    data: TrainingData,
    settings: RunSettings,
    run: RunFolder,
    ranks: Ranks = ALONE,
) -> Progress:
    """Train until early stopping, going on from the run folder's newest checkpoint where there is one.

    Every random choice follows from the seed, the epoch number and the states
    of torch's generators, which a checkpoint holds: a run resumed after any
    step equals one that was never interrupted. SIGTERM and Ctrl-C finish the
    step in hand, write a checkpoint and end with 143 and 130. Several ranks take
    every step, save, stop and fail together.

    Raises
    ------
    TrainingDivergedError
        The loss or the weights became NaN or infinite.
    StoreIntegrityError
        The best checkpoint of a resumed run is damaged.
    """
    with finishing_on(signal.SIGTERM, signal.SIGINT, work="step") as told:
        training = _Training(model, features, data, settings, run, told, ranks)
        training.run()
    if training.told:
        note(
            f"checkpoint of {training.reached} written; the same command with --resume goes on from there"
        )
        if training.told == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)
    return training.reached


class _Training:
    """One call of `fit`: its parts and how far it got."""

    def __init__(
        self,
        model: Crossan,
        features: Features,
        data: TrainingData,
        settings: RunSettings,
        run: RunFolder,
        told: ToldToEnd,
        ranks: Ranks,
    ) -> None:
        self._model, self._features, self._data, self._settings = model, features, data, settings
        self._run, self._told, self._ranks = run, told, ranks
        self._optimiser = make_optimiser(model, settings.optimiser)
        self._objective = make_objective(settings, data.train, data.log_popularity, ranks)
        self._saver = Saver(model, self._optimiser, self._objective, run, settings.checkpoint)
        self._sum_gradients = GradientSum(model.parameters(), ranks) if ranks.count > 1 else None
        self._window = LossWindow(features.presence.device)
        self._latest_loss = ""
        self.told, self._is_due = 0, False
        """The signal that told a rank to end, 0 for none; whether a checkpoint is to be written."""
        self.reached = self._saver.restore()
        ranks.require_same(
            {"checkpoint": str(self.reached), "weights": _digest(model) if ranks.count > 1 else ""}
        )
        run.write_metrics(self.reached.metrics)
        self._lap_begun = time.monotonic()

    def run(self) -> None:
        """Take epochs until they are over, or until told to end; what was done is in a checkpoint then."""
        if self._settings.init is not None and self._saver.newest is None:
            load_initial_weights(
                self._model, Path(self._settings.init), self._run, self._data.item_ids
            )
            self._save()  # from here on nothing depends on the run that was begun from
        self._agree()
        if not (self.told or self.reached.is_over(self._settings)):
            self._run.forget_figures()  # of the epochs so far: nobody takes them for those of what comes
        while not self.reached.is_over(self._settings) and not self.told:
            self._take_steps()
            if not self.told:
                self._validate()
                self._agree()
            if self._is_due:
                self._save()
        if str(self.reached) != self._saver.newest:
            self._save()
        self._agree()  # a signal that came meanwhile is not forgotten

    def _agree(self) -> None:
        """Settle with the other ranks whether to end, and whether the first one's checkpoint is due."""
        is_told = self._told.is_set() or self._ranks.told_to_end.is_set()
        own = (self._told.number or signal.SIGTERM) if is_told else 0
        self.told, is_due = self._ranks.highest(own, self._ranks.is_first and self._saver.is_due)
        self._is_due = bool(is_due)

    def _take_steps(self) -> None:
        """Take the steps that are left of the epoch in hand."""
        reached, epoch = self.reached, self.reached.epoch + 1
        left = self._batches(epoch)[reached.step :]
        if not reached.step:
            torch.manual_seed(self._settings.seed * _SEED_STRIDE + epoch)
        self._model.train()
        with (
            progress(f"epoch {epoch}", sum(map(len, left)), "users") as shown,
            self._prepared(left) as batches,
        ):
            for batch in batches:
                self._window.add(self._take_step(batch))
                reached.step += 1
                self._saver.count_step()
                if self._window.is_full:
                    self._check_losses()
                shown.advance(batch.user_count, self._latest_loss)
                self._agree()
                if self._is_due:
                    self._save()
                if self.told:
                    return

    @contextmanager
    def _prepared(self, batches: Sequence[Tensor]) -> Iterator[Iterator[_Batch]]:
        """Yield batches of users ready for their step, one prepared ahead; the reference step prepares nothing."""
        if self._settings.reference:
            yield map(self._prepare, batches)
            return
        with prepared_ahead(batches, self._prepare) as ahead:
            yield ahead

    def _prepare(self, users: Tensor) -> _Batch:
        return _Batch(
            len(users), self._objective.prepare(self._features, self._data.train.sequences[users])
        )

    def _take_step(self, batch: _Batch) -> Tensor:
        """Take one step for a batch and return its loss, which nobody has waited for."""
        if self._sum_gradients is not None:
            seed_step(self._ranks, self._settings.seed, self.reached.epoch, self.reached.step)
        loss = batch.loss(self._model)
        self._optimiser.zero_grad()
        loss.backward()
        if self._sum_gradients is not None:
            loss = self._sum_gradients(loss)
        self._optimiser.step()
        return loss.detach()

    def _validate(self) -> None:
        """Close the epoch: rank the validation targets and write its line."""
        self._check_losses()
        reached, epoch = self.reached, self.reached.epoch + 1
        try:
            item_vectors = self._encode_items()
        except EvaluationStoppedError:
            return
        mask_history = self._settings.mask_history
        valid = self._ranks.from_first(
            lambda: summarise(
                split_ranks(self._model, item_vectors, self._data.validation, mask_history)
            )
        )
        loss = reached.loss_sum / reached.step
        is_best = valid["hr@10"] > reached.best_hr
        line = {"epoch": epoch, "loss": loss, "valid": valid, "is_best": is_best}
        reached.metrics.append(line)
        reached.epoch, reached.step, reached.loss_sum = epoch, 0, 0.0
        if is_best:
            reached.best_epoch, reached.best_hr = epoch, valid["hr@10"]
            self._saver.keep_best(epoch, valid["hr@10"])
        self._run.append_metrics(line)
        self._lap()
        _say(self._settings, reached, loss, valid)

    def _encode_items(self) -> Tensor:
        if self._ranks.count == 1:
            return encode_items(self._model, self._features, self._told)
        return encode_items_together(self._ranks, self._model, self._features, self._told)

    def _save(self) -> None:
        self._check_losses()
        if not _are_finite(self._model):
            raise self._diverged("the weights are no longer finite")
        self._lap()
        self._saver.save(self.reached)
        self._lap_begun = time.monotonic()  # writing is not training

    def _lap(self) -> None:
        now = time.monotonic()
        self.reached.seconds += now - self._lap_begun
        self._lap_begun = now

    def _check_losses(self) -> None:
        """Look at the losses since the last look, all of one epoch."""
        losses = self._window.drain()
        place = first_divergence(losses)
        if place is not None:
            self.reached.step -= len(losses) - place - 1
            raise self._diverged(f"the loss became {losses[place]}")
        for loss in losses:  # one by one: in whatever windows they come, the sum is the same
            self.reached.loss_sum += loss
            self._latest_loss = f"loss {loss:.3f}"

    def _batches(self, epoch: int) -> Sequence[Tensor]:
        """Return the users of every step of an epoch."""
        order = np.random.default_rng([self._settings.seed, epoch]).permutation(
            len(self._data.train.sequences)
        )
        batches: Sequence[Tensor] = torch.from_numpy(order).split(self._settings.batch_size)
        return batches

    def _diverged(self, what: str) -> TrainingDivergedError:
        """Record the batch of the last step and return the error that names it."""
        epoch, step = self.reached.epoch + bool(self.reached.step), self.reached.step
        batches = self._batches(epoch)
        step = step or len(batches)
        sequences = self._data.train.sequences[batches[step - 1]]
        items = [
            str(self._data.item_ids[row])
            for row in sequences[sequences != PADDING].unique().tolist()
        ]
        path = self._run.write_divergence(
            {"epoch": epoch, "step": step, "what": what, "items": items}
        )
        named = ", ".join(items[:_ITEMS_NAMED]) + (", ..." if len(items) > _ITEMS_NAMED else "")
        newest = self._saver.newest
        kept = (
            "there was no checkpoint yet"
            if newest is None
            else f"the checkpoint of {newest} is kept"
        )
        return TrainingDivergedError(
            f"{what} in epoch {epoch}, step {step} ({len(items):,} items: {named}); {kept}\n  all items: {path}",
            remedy="Start a run with smaller rates: --set optimiser.lr=... --set optimiser.adapter_lr=...",
        )


def _are_finite(model: Crossan) -> bool:
    return bool(
        torch.stack([tensor.isfinite().all() for tensor in model.state_dict().values()]).all()
    )


def _digest(model: Crossan) -> str:
    """Return the sha256 of all weights."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def _say(settings: RunSettings, reached: Progress, loss: float, valid: dict[str, float]) -> None:
    each = reached.seconds / reached.epoch
    note(
        f"epoch {reached.epoch}/{settings.max_epochs}: loss {loss:.4f}, valid hr@10 {valid['hr@10']:.4f}"
        f" ndcg@10 {valid['ndcg@10']:.4f}, {each:.1f} s per epoch, best epoch {reached.best_epoch},"
        f" at most {(settings.max_epochs - reached.epoch) * each:.0f} s left"
    )
