"""The losses of an epoch, kept on the device and read many at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from crossan.cache_schema.errors import CrossanError

__all__ = ["LossWindow", "TrainingDivergedError", "first_divergence"]

_STEPS_PER_WINDOW = 50
"""Steps between two reads, each of which makes the host wait for the device."""


class TrainingDivergedError(CrossanError):
    """The loss or the weights are no longer finite numbers.

    The last checkpoint with finite numbers is kept.
    """


class LossWindow:
    """Up to 50 losses on the device.

    Parameters
    ----------
    device
        Where the losses are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self._losses = torch.zeros(_STEPS_PER_WINDOW, device=device)
        self._count = 0

    def add(self, loss: Tensor) -> None:
        """Keep the loss of a step, without waiting for it."""
        self._losses[self._count] = loss.detach()
        self._count += 1

    @property
    def is_full(self) -> bool:
        """Whether `drain` must come before the next `add`."""
        return self._count == _STEPS_PER_WINDOW

    def drain(self) -> list[float]:
        """Return the losses since the last call, oldest first, and forget them."""
        values: list[float] = self._losses[: self._count].tolist()
        self._count = 0
        return values


def first_divergence(losses: list[float]) -> int | None:
    """Return the position of the first loss that is NaN or infinite, or None."""
    return next((number for number, loss in enumerate(losses) if not math.isfinite(loss)), None)
