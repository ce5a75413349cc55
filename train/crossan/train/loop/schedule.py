r"""The learning rates of every step.

All of them follow from the settings, the epoch, the step and the drops so far, so a run that is
resumed after any step goes on with the rates it would have had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from crossan.train.loop.adamw import AdamW
from crossan.train.settings import OptimiserSettings

__all__ = ["ID_RATE", "Schedule", "named_rates"]

ID_RATE = "id_lr"
"""The rate that has a start of its own."""


class Schedule:
    r"""What rates a step is taken by.

    With :math:`t` epochs taken on the way to the weights in hand, steps as fractions of one,
    warm-up over :math:`w` epochs, a cosine over :math:`c` with floor :math:`f`, decay :math:`d`,
    drop factor :math:`q` and :math:`n` drops so far, the rate of a group is

    .. math:: r \cdot \min\left(1, \frac{t'}{w}\right)
       \cdot \left(f + (1 - f) \frac{1 + \cos \pi u}{2}\right)
       \cdot d^{\lfloor t \rfloor / 50} \cdot q^n,
       \qquad u = \min\left(1, \frac{\max(t - w, 0)}{c - w}\right),

    where :math:`t'` is :math:`t` after the step, so that the first step moves the weights, and
    :math:`r` is the rate that was set. That of item ids begins at ``id_lr_start`` and moves to
    ``id_lr`` along a line.

    Parameters
    ----------
    settings
        The rates and their course.
    steps_per_epoch
        Steps of one epoch.
    """

    def __init__(self, settings: OptimiserSettings, steps_per_epoch: int) -> None:
        self._settings, self._steps_per_epoch = settings, steps_per_epoch

    def apply(self, optimiser: AdamW, epoch: int, step: int, drops: int) -> None:
        """Set the rates of an optimiser for a step, see `rates`."""
        base = {group["name"]: group["lr"] for group in optimiser.param_groups}
        rates = self.rates(base, epoch, step, drops)
        optimiser.rates = [rates[name] for name in base]

    def rates(
        self, base: Mapping[str, float], epoch: int, step: int, drops: int
    ) -> dict[str, float]:
        """Return the rates of a step by name.

        Parameters
        ----------
        base
            Those that were set, by the name of their setting.
        epoch, step
            The epoch, counted from 1 without those that a drop went back over, and the steps of it
            that were taken before.
        drops
            How often the rates have dropped.
        """
        scale = self._scale(epoch, step) * self._settings.drop_factor**drops
        start, taken = self._settings.id_lr_start, self._taken(epoch, step)
        rates = {name: rate * scale for name, rate in base.items()}
        left = 1 - taken / self._settings.id_lr_epochs
        if ID_RATE in rates and start is not None and left > 0:
            rate = base[ID_RATE]
            rates[ID_RATE] = (rate + (start - rate) * left) * scale
        return rates

    def _taken(self, epoch: int, step: int) -> float:
        """Return the epochs taken, steps as fractions of one."""
        return epoch - 1 + step / self._steps_per_epoch

    def _scale(self, epoch: int, step: int) -> float:
        """Return what all rates are multiplied by, drops aside."""
        settings, taken = self._settings, self._taken(epoch, step)
        warmup = settings.warmup_epochs
        scale = settings.decay(epoch)
        if warmup:
            scale *= min(1.0, self._taken(epoch, step + 1) / warmup)
        if settings.cosine_epochs is not None:
            fallen = min(1.0, max(taken - warmup, 0.0) / (settings.cosine_epochs - warmup))
            floor = settings.cosine_floor
            scale *= floor + (1 - floor) * (1 + math.cos(math.pi * fallen)) / 2
        return scale


def named_rates(optimiser: AdamW) -> dict[str, float]:
    """Return the rates of the last step by the names of their settings."""
    groups = zip(optimiser.param_groups, optimiser.rates, strict=True)
    return {group["name"]: rate for group, rate in groups}
