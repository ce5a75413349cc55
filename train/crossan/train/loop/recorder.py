"""What a device offers to steps of fixed shapes: to record them, and to copy ahead of them.

This is the whole of what differs between a device and the CPU. Everything around it, which batch
goes into which bucket, what is copied where and in what order, is `RecordedSteps`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from crossan.train.features.interface import GatheredInputs

__all__ = ["Recorder", "Repeater"]


class Recorder(Protocol):
    """Records a step and computes it again, with whatever its tensors hold by then."""

    def host_memory(self, length: int) -> Tensor:
        """Return an uninitialised uint8 tensor that the device copies from without waiting.

        Another thread than the one that computes may call this.
        """

    def in_order(self) -> AbstractContextManager[None]:
        """Compute the block after all that was begun before, and all that follows after it."""

    def ahead(self, upload: Callable[[], GatheredInputs]) -> GatheredInputs:
        """Return the inputs that ``upload`` copies, while the steps before still compute.

        The next block of `in_order` may read them. What is copied this way waits for the last
        step but one, so that no more than two steps' inputs are on the device.
        """

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Record what a function computes, and return what computes it again.

        The function has been called before, so whatever it makes only once is made. It is called
        once more, which need not compute anything. A recording reads and writes the same tensors
        every time, draws new random numbers, and holds all numbers of Python as they were.
        """


class Repeater:
    """Calls the function again, where there is nothing to record by.

    A step takes the same numbers as on a device that records.
    """

    def host_memory(self, length: int) -> Tensor:
        """Return an uninitialised uint8 tensor."""
        return torch.empty(length, dtype=torch.uint8)

    def in_order(self) -> AbstractContextManager[None]:
        """Do nothing, as everything is computed when it is called."""
        return nullcontext()

    def ahead(self, upload: Callable[[], GatheredInputs]) -> GatheredInputs:
        """Return what is copied at once."""
        return upload()

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Return the function."""
        return step
