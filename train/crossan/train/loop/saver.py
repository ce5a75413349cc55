"""Saving everything that training consists of at any step, and putting it back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.common.console import note
from crossan.common.foreign import require_shape
from crossan.train.loop.adamw import AdamW
from crossan.train.loop.averaging import EpochAverage
from crossan.train.loop.optimiser_state import optimiser_tensors, restore_optimiser
from crossan.train.loop.progress import TrainingProgress
from crossan.train.objectives import Objective
from crossan.train.record.checkpoint import (
    BEST,
    NEWEST,
    Checkpoint,
    load_weights,
)
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.shapes import Progress
from crossan.train.settings import CheckpointSettings

__all__ = ["Saver"]

_MOST_TIME_IN_SAVING = 0.05
"""Share of the time that writing checkpoints may take."""


class Saver:
    """Write the checkpoints of one training, and go back to the newest.

    Parameters
    ----------
    model, optimiser, objective, average
        What is saved and restored, with the states of torch's generators.
    run
        The folder to write to.
    settings
        How often to write.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: AdamW,
        objective: Objective,
        average: EpochAverage,
        run: RunFolder,
        settings: CheckpointSettings,
    ) -> None:
        self._model, self._optimiser, self._objective = model, optimiser, objective
        self._average = average
        self._run, self._settings = run, settings
        self._device = next(model.parameters()).device
        self._unwritten_best: Checkpoint | None = None
        self._begun, self._cost, self._steps = time.monotonic(), 0.0, 0
        self.newest: str | None = None
        """The progress of the newest checkpoint in words; None before there is one."""

    def restore(self) -> TrainingProgress:
        """Put the newest whole checkpoint back and return its progress.

        Without one, this is the progress of a training that has not begun.

        Raises
        ------
        StoreIntegrityError
            The best checkpoint, which the newest relies on, is damaged.
        IncompatibleError
            The weights do not fit the model.
        """
        newest = self._run.newest_checkpoint()
        if newest is None:
            return TrainingProgress()
        source = str(self._run.path)
        recorded: Any = newest.state.get("progress")
        require_shape(recorded, Progress, f"{source}: the checkpoint", StoreIntegrityError)
        load_weights(self._model, newest.tensors["model"], source)
        try:
            self._restore_states(newest)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            # What torch raises for tensors that are not the ones it gave.
            raise StoreIntegrityError(
                f"{source}: expected the states of optimiser and generators in the checkpoint,"
                f" found others: {error}"
            ) from error
        # Older checkpoints do not say which seconds were of earlier epochs.
        progress = TrainingProgress(**{"seconds_before": recorded["seconds"], **recorded})
        self._require_best(progress)
        self.newest = str(progress)
        note(f"going on after {progress}")
        return progress

    def _restore_states(self, newest: Checkpoint) -> None:
        restore_optimiser(self._optimiser, newest.tensors["optimiser"])
        self._objective.restore(newest.tensors.get("objective", {}))
        self._average.restore(newest.tensors.get("average", {}))
        random = newest.tensors["random"]
        torch.set_rng_state(random["cpu"])
        # A run that was begun on the CPU has no state of a device.
        if self._device.type == "cuda" and "device" in random:
            torch.cuda.set_rng_state(random["device"], self._device)

    def count_step(self) -> None:
        """Count a step that was taken."""
        self._steps += 1

    @property
    def is_due(self) -> bool:
        """Whether a checkpoint should be written now."""
        every = self._settings.every_steps
        if every is not None and self._steps >= every:
            return True
        # Slow storage must not eat the training: a checkpoint that took 3 s is followed by 60 s of
        # training at least.
        wait = max(self._settings.every_seconds, self._cost / _MOST_TIME_IN_SAVING)
        return time.monotonic() - self._begun >= wait

    def keep_best(self, epoch: int, hit_ratio: float | None) -> None:
        """Remember the weights as the best so far, to be written before the next checkpoint."""
        # Cloned, because the next step changes the weights in place.
        weights = {
            name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()
        }
        self._unwritten_best = Checkpoint({"model": weights}, {"epoch": epoch, "hr@10": hit_ratio})

    def keep_epoch(self, epoch: int, hit_ratio: float | None) -> None:
        """Write the weights among those of the last epochs, where these are kept."""
        if self._settings.keep_epochs:
            weights = {name: tensor.detach() for name, tensor in self._model.state_dict().items()}
            kept = Checkpoint({"model": weights}, {"epoch": epoch, "hr@10": hit_ratio})
            self._run.keep_epoch(epoch, kept, self._settings.keep_epochs)

    def best_weights(self, epoch: int) -> Mapping[str, Tensor]:
        """Return the best weights so far, which are those of ``epoch``.

        Raises
        ------
        StoreIntegrityError
            They are damaged, or of another epoch.
        """
        best = self._unwritten_best or self._run.best_checkpoint()
        if best.state.get("epoch") != epoch:
            raise StoreIntegrityError(
                f"{self._run.path}: expected epoch {epoch} in the best checkpoint, to go back to,"
                f" found epoch {best.state.get('epoch')}",
                remedy=_begin_again(self._run.path),
            )
        return best.tensors["model"]

    def save(self, progress: TrainingProgress) -> None:
        """Write the best weights if they are new, and then everything else."""
        start = time.monotonic()
        # The best first. After a kill between the two, the steps since the checkpoint before are
        # taken again and end in the same best weights; in the other order, they would be lost.
        self._write_best()
        tensors = {
            "model": self._model.state_dict(),
            "optimiser": optimiser_tensors(self._optimiser),
            "random": self._random_states(),
        }
        if objective_state := self._objective.state():
            tensors["objective"] = objective_state
        if average_state := self._average.state():
            tensors["average"] = average_state
        self._run.save_checkpoint(NEWEST, Checkpoint(tensors, {"progress": asdict(progress)}))
        self.newest = str(progress)
        self._begun = time.monotonic()
        self._cost, self._steps = self._begun - start, 0

    def _write_best(self) -> None:
        if self._unwritten_best is not None:
            self._run.save_checkpoint(BEST, self._unwritten_best)
            self._unwritten_best = None

    def _random_states(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["device"] = torch.cuda.get_rng_state(self._device)
        return states

    def _require_best(self, progress: TrainingProgress) -> None:
        """Check the best checkpoint now, before hours of training rely on it."""
        if not progress.best_epoch:
            return
        try:
            self._run.best_checkpoint()
        except (StoreIntegrityError, UsageError) as error:
            # Right after the best epoch, the newest checkpoint holds what was judged, too.
            if progress.best_epoch == progress.epoch and not progress.step:
                note(f"the best checkpoint cannot be used, writing it again: {error.message}")
                valid = progress.metrics[-1].get("valid")
                with self._average.judged_last():
                    self.keep_best(progress.epoch, None if valid is None else valid["hr@10"])
                # At once, because a run that is over saves no more checkpoints.
                self._write_best()
                return
            raise StoreIntegrityError(
                f"the checkpoint of the best epoch, {progress.best_epoch}, cannot be used:"
                f" {error.message}",
                remedy=_begin_again(self._run.path),
            ) from None


def _begin_again(run: Path) -> str:
    """Return the remedy of a run whose best weights are not what they should be."""
    return f"Begin it again in another folder: --out {run}-2, where it ends in the same weights"
