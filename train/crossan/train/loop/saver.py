"""What training is made of at any step, when it is written, and how it is put back."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.common.console import note
from crossan.train.objectives import Objective
from crossan.train.record.checkpoint import (
    BEST,
    NEWEST,
    Checkpoint,
    load_weights,
    optimiser_tensors,
    restore_optimiser,
)
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import CheckpointSettings, RunSettings

__all__ = ["Progress", "Saver"]

_MOST_TIME_IN_SAVING = 0.05
"""Share of the time that writing checkpoints may take."""


@dataclass(slots=True)
class Progress:
    """Where training stands; everything a resumed run must know besides its tensors."""

    epoch: int = 0
    """Epochs done, validation included."""
    step: int = 0
    """Steps taken in the epoch after these."""
    loss_sum: float = 0.0
    """Sum of the losses of these steps."""
    best_epoch: int = 0
    best_hr: float = -1.0
    """Validation HR@10 of the best epoch."""
    seconds: float = 0.0
    """Time in steps and validation so far; it fixes nothing."""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    """A line of ``metrics.jsonl`` for every epoch done."""

    def is_over(self, settings: RunSettings) -> bool:
        """Whether the epochs are used up or nothing improved for ``patience`` of them."""
        return (
            self.epoch >= settings.max_epochs or self.epoch - self.best_epoch >= settings.patience
        )

    def __str__(self) -> str:
        """Return the place in words."""
        return (
            f"epoch {self.epoch}" if not self.step else f"epoch {self.epoch + 1}, step {self.step}"
        )


class Saver:
    """Write checkpoints of one training, and go back to the newest.

    Parameters
    ----------
    model, optimiser, objective
        What is saved and restored, with the states of torch's generators.
    run
        Where.
    settings
        How often.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        objective: Objective,
        run: RunFolder,
        settings: CheckpointSettings,
    ) -> None:
        self._model, self._optimiser, self._objective = model, optimiser, objective
        self._run, self._settings = run, settings
        self._device = next(model.parameters()).device
        self._unwritten_best: Checkpoint | None = None
        self._begun, self._cost, self._steps = time.monotonic(), 0.0, 0
        self.newest: str | None = None
        """Place of the newest checkpoint in words; None before there is one."""

    def restore(self) -> Progress:
        """Put the newest whole checkpoint back and return its place; the beginning where there is none.

        Raises
        ------
        StoreIntegrityError
            The best checkpoint it counts on is damaged.
        IncompatibleError
            Its weights do not fit the model.
        """
        found = self._run.newest_checkpoint()
        if found is None:
            return Progress()
        load_weights(self._model, found.tensors["model"], str(self._run.path))
        restore_optimiser(self._optimiser, found.tensors["optimiser"])
        self._objective.restore(found.tensors.get("objective", {}))
        torch.set_rng_state(found.tensors["random"]["cpu"])
        if self._device.type == "cuda" and "device" in found.tensors["random"]:
            torch.cuda.set_rng_state(found.tensors["random"]["device"], self._device)
        reached = Progress(**found.state["progress"])
        self._require_best(reached)
        self.newest = str(reached)
        note(f"going on after {reached}")
        return reached

    def count_step(self) -> None:
        """Note that a step was taken."""
        self._steps += 1

    @property
    def is_due(self) -> bool:
        """Whether a checkpoint is to be written now."""
        wait = max(self._settings.every_seconds, self._cost / _MOST_TIME_IN_SAVING)
        every = self._settings.every_steps
        return time.monotonic() - self._begun >= wait or (
            every is not None and self._steps >= every
        )

    def keep_best(self, epoch: int, hit_ratio: float) -> None:
        """Remember the weights as the best so far; they are written with the next checkpoint, before it."""
        weights = {
            name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()
        }
        self._unwritten_best = Checkpoint({"model": weights}, {"epoch": epoch, "hr@10": hit_ratio})

    def save(self, reached: Progress) -> None:
        """Write the best weights where they are new, then everything at this place.

        In this order: after a kill between the two, the steps since the
        checkpoint before are taken again, and end in the same best weights.
        """
        start = time.monotonic()
        self._write_best()
        tensors = {
            "model": self._model.state_dict(),
            "optimiser": optimiser_tensors(self._optimiser),
            "random": self._random_states(),
        }
        if remembered := self._objective.state():
            tensors["objective"] = remembered
        self._run.save_checkpoint(NEWEST, Checkpoint(tensors, {"progress": asdict(reached)}))
        self.newest = str(reached)
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

    def _require_best(self, reached: Progress) -> None:
        """Look at the best checkpoint before hours are spent that count on it."""
        if not reached.best_epoch:
            return
        try:
            self._run.best_checkpoint()
        except (StoreIntegrityError, UsageError) as error:
            if (
                reached.best_epoch == reached.epoch and not reached.step
            ):  # the newest holds the same weights
                note(f"the best checkpoint cannot be used, writing it again: {error.message}")
                self.keep_best(reached.epoch, reached.best_hr)
                self._write_best()  # at once: a run that is over saves no more
                return
            raise StoreIntegrityError(
                f"the checkpoint of the best epoch, {reached.best_epoch}, cannot be used: {error.message}",
                remedy=f"Remove {self._run.path / 'checkpoints'}: --resume then begins anew and ends in the same weights",
            ) from None
