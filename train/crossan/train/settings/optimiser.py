"""How the weights move."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from crossan.common.config import Settings
from crossan.train.settings.paper import Paper

__all__ = ["OptimiserSettings"]

_EPOCHS_OF_DECAY = 50


class OptimiserSettings(Settings):
    """AdamW with rates of their own for the side adapters and the items' own vectors.

    What changes the rates in the course of a training is multiplied: warm-up, cosine, decay and
    drops. The paper names no such thing, so by default the rates stay as they are.
    """

    lr: Annotated[float, Paper(searched="1e-5 to 1e-3")] = Field(default=1e-3, gt=0)
    """Learning rate of fusion and sequence encoder."""

    adapter_lr: Annotated[float, Paper(searched="1e-5 to 1e-3")] = Field(default=1e-4, gt=0)
    """Learning rate of the towers, with side adapters and gates or without (``frozen``), or of
    backbones that are trained."""

    text_lr: float | None = Field(default=None, gt=0)
    """Learning rate of what is trained of the text backbone with ``model.kind=fine-tuned``. By
    default ``adapter_lr``, which the other backbones take."""

    id_lr: float = Field(default=1e-3, gt=0)
    """Learning rate of the items' own vectors (``model.id_embedding``)."""

    id_lr_start: float | None = Field(default=None, gt=0)
    """What the learning rate of the items' own vectors begins at. It moves to ``id_lr`` step by
    step, in ``id_lr_epochs``. By default it is ``id_lr`` from the first step on."""

    id_lr_epochs: int = Field(default=5, ge=1)
    """Epochs after which the rate of the items' own vectors is ``id_lr``, with ``id_lr_start``."""

    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay, on every weight."""

    lr_decay: float = Field(default=1.0, gt=0, le=1)
    """What all learning rates are multiplied by in the course of fifty epochs, a little after each.
    With 1 they stay as they are."""

    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs in which all learning rates rise to their values, evenly from step to step. With 0
    they have them from the first step on."""

    cosine_epochs: int | None = Field(default=None, ge=1)
    """Epochs in which all learning rates fall along half a cosine to ``cosine_floor`` of their
    values, where they stay; the warm-up is part of them. By default they do not fall."""

    cosine_floor: float = Field(default=0.01, gt=0, le=1)
    """The share of every learning rate that is left after ``cosine_epochs``."""

    plateau_drops: int = Field(default=0, ge=0)
    """How often a plateau lowers the rates. Where ``patience`` epochs brought nothing better,
    training goes on from the best weights, with fresh moments and all learning rates times
    ``drop_factor``. The plateau after the last drop ends it."""

    drop_factor: float = Field(default=0.1, gt=0, lt=1)
    """What a drop multiplies all learning rates by."""

    drop_epochs: int | None = Field(default=None, ge=1)
    """Epochs that are trained after the last of ``plateau_drops``. By default training goes on to
    the next plateau."""

    drop_after: tuple[int, ...] = ()
    """Epochs after which the rates drop whatever validation says. Training goes on from the weights
    of that epoch, with fresh moments. An epoch that stands here twice drops them twice.
    ``crossan-train --refit`` writes here where the rates of its run dropped."""

    @model_validator(mode="after")
    def _has_a_course(self) -> Self:
        if self.cosine_epochs is not None and self.warmup_epochs >= self.cosine_epochs:
            raise ValueError(
                f"expected warmup_epochs below cosine_epochs={self.cosine_epochs}, of which they"
                f" are part, got {self.warmup_epochs:g}"
            )
        if self.drop_epochs is not None and not self.plateau_drops:
            raise ValueError("expected no drop_epochs without plateau_drops, which they follow")
        epochs = self.drop_after
        if any(epoch < 1 for epoch in epochs) or list(epochs) != sorted(epochs):
            raise ValueError(f"expected drop_after to be epochs from 1 on, in order, got {epochs}")
        if epochs and self.plateau_drops:
            raise ValueError("expected drop_after or plateau_drops, not both")
        return self

    def decay(self, epoch: int) -> float:
        """Return what ``lr_decay`` has come to in an epoch, counted from 1."""
        return float(self.lr_decay ** ((epoch - 1) / _EPOCHS_OF_DECAY))
