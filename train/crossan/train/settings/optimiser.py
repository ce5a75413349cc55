"""How the weights move."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from crossan.common.config import Settings
from crossan.train.settings.paper import Paper

__all__ = ["OptimiserSettings"]

_EPOCHS_OF_DECAY = 50


class OptimiserSettings(Settings):
    """AdamW with rates of their own for the side adapters and the items' own vectors."""

    lr: Annotated[float, Paper(searched="1e-5 to 1e-3")] = Field(default=1e-3, gt=0)
    """Learning rate of fusion and sequence encoder."""

    adapter_lr: Annotated[float, Paper(searched="1e-5 to 1e-3")] = Field(default=1e-4, gt=0)
    """Learning rate of the side-adapter towers and their gates, or of backbones that are trained."""

    text_lr: float | None = Field(default=None, gt=0)
    """Learning rate of what is trained of the text backbone with ``model.kind=fine-tuned``. By
    default ``adapter_lr``, which the other backbones take."""

    id_lr: float = Field(default=1e-3, gt=0)
    """Learning rate of the items' own vectors (``model.id_embedding``)."""

    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay, on every weight."""

    lr_decay: float = Field(default=1.0, gt=0, le=1)
    """What all learning rates are multiplied by in the course of fifty epochs, a little after each.
    With 1 they stay as they are."""

    def rate_scale(self, epoch: int) -> float:
        """Return what the learning rates of an epoch, counted from 1, are multiplied by."""
        return float(self.lr_decay ** ((epoch - 1) / _EPOCHS_OF_DECAY))
