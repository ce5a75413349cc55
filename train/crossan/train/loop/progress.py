"""How far a training is, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from crossan.train.settings import RunSettings

__all__ = ["Drop", "StoppedBy", "TrainingProgress"]

StoppedBy = Literal["patience", "drop_epochs", "max_epochs", "ended"]
"""What ended a training: no gain, the epochs after the last drop of the rates, the most epochs, or
somebody who asked for it."""

Drop = TypedDict("Drop", {"after": int, "from": int})
"""After which epoch the rates dropped, and the epoch whose weights training went on from."""


@dataclass(slots=True)
class TrainingProgress:
    """How far training is, and everything that a resumed run must know besides its tensors."""

    epoch: int = 0
    """Epochs done, validation included."""
    step: int = 0
    """Steps done in the epoch after those."""
    loss_sum: float = 0.0
    """Sum of the losses of these steps."""
    best_epoch: int = 0
    best_hr: float = -1.0
    """Validation figure of the best epoch, HR@10 unless ``select_by`` says otherwise.

    It is -1 where nothing is validated, as in a refit.
    """
    seconds: float = 0.0
    """Time spent in steps and validation so far, on which no number depends."""
    seconds_before: float = 0.0
    """The part of ``seconds`` that went into the epochs done."""
    drops: list[Drop] = field(default_factory=list)
    """Where the learning rates dropped, first to last."""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    """A line of ``metrics.jsonl`` for every epoch done."""

    @property
    def seconds_per_epoch(self) -> float:
        """The mean time of the epochs that are done."""
        return self.seconds_before / self.epoch

    @property
    def course_epoch(self) -> int:
        """The number of the epoch in hand among those that lead to its weights, from 1.

        The rates follow it, so that a refit, which takes those epochs alone, has the same.
        """
        return self.epochs_to(self.epoch + 1)[0]

    def close_epoch(self, line: dict[str, Any], figure: float | None) -> None:
        """Count the epoch in hand as done.

        Parameters
        ----------
        line
            Its line of ``metrics.jsonl``.
        figure
            What it is judged by, None where nothing is validated.
        """
        self.metrics.append(line)
        self.epoch, self.step, self.loss_sum = line["epoch"], 0, 0.0
        self.seconds_before = self.seconds
        if line["is_best"]:
            self.best_epoch = line["epoch"]
            self.best_hr = self.best_hr if figure is None else figure

    def is_over(self, settings: RunSettings) -> bool:
        """Whether the settings leave no epoch to be trained."""
        return self.stopped_by(settings) is not None

    def stopped_by(self, settings: RunSettings) -> StoppedBy | None:
        """Return which setting leaves no epoch to be trained, None where none does."""
        optimiser = settings.optimiser
        has_drops_left = len(self.drops) < optimiser.plateau_drops
        if self.is_plateau(settings) and not has_drops_left:
            return "patience"
        since_drop = self.epoch - self._last_drop
        limit = optimiser.drop_epochs
        if limit is not None and not has_drops_left and since_drop >= limit:
            return "drop_epochs"
        return "max_epochs" if self.epoch >= settings.max_epochs else None

    def is_plateau(self, settings: RunSettings) -> bool:
        """Whether nothing improved for ``patience`` epochs, those before the last drop aside."""
        return self.epoch - max(self.best_epoch, self._last_drop) >= settings.patience

    def ends_after(self, settings: RunSettings) -> int:
        """Return the epoch after which training ends where nothing improves any more."""
        limit = settings.optimiser.drop_epochs
        last_gain, last_drop = max(self.best_epoch, self._last_drop), self._last_drop
        # Every drop that is left comes after a plateau of its own, and begins the next.
        for _ in range(settings.optimiser.plateau_drops - len(self.drops)):
            last_gain = last_drop = last_gain + settings.patience
        end = last_gain + settings.patience
        if limit is not None:
            end = min(end, last_drop + limit)
        return min(end, settings.max_epochs)

    def epochs_to(self, epoch: int) -> tuple[int, tuple[int, ...]]:
        """Return how many epochs lead to the weights of one, and after which of them rates dropped.

        A drop goes back to the best epoch so far, and what was trained since leads nowhere.
        """
        before = [drop for drop in self.drops if drop["after"] < epoch]
        if not before:
            return epoch, ()
        last = before[-1]
        earlier, drops = self.epochs_to(last["from"])
        # Drops in a row without a better epoch between them all go back to the same one.
        same = sum(drop["from"] == last["from"] for drop in before)
        return earlier + epoch - last["after"], (*drops, *[earlier] * same)

    @property
    def _last_drop(self) -> int:
        return self.drops[-1]["after"] if self.drops else 0

    def __str__(self) -> str:
        """Return the epoch, and the step within it, in words."""
        if not self.step:
            return f"epoch {self.epoch}"
        return f"epoch {self.epoch + 1}, step {self.step}"
