"""A forward that has been launched: a worker of the device may still be at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Launched", "States"]

States = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Launched:
    """The forward of one batch, which runs on while its caller does something else."""

    fetch: Callable[[], States]
    """Waits for the pooled hidden states, float32 ``(items, layer, dim)``."""
    seconds: Callable[[], float]
    """How long the device computed them, known once `fetch` has returned.

    The time from when the inputs lay on the device to the pooled states, without the wait for
    the forwards before. See `Carrier.forward` for whose clock it is.
    """

    def __call__(self) -> States:
        """Return the states as `fetch` does."""
        return self.fetch()
