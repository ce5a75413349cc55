"""What carries batches to a device and their hidden states back.

This is the whole of what differs between an accelerator and the CPU while a job computes. What is
stacked, prepared and forwarded is the same on both, and so are the numbers of one device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from crossan.extract.backbones.batches import Batch
from crossan.extract.backbones.launched import Launched

__all__ = ["Carrier", "HostCarrier", "carrier_of"]


class Carrier(Protocol):
    """Carries one batch after the other, in the order of the calls.

    A call of `ahead` is followed by one of `forward`, both from one thread. Another thread may
    wait for what was launched.
    """

    def ahead(self, upload: Callable[[], Batch]) -> Batch:
        """Return the batch that ``upload`` copies, while the forwards before still run.

        The next `forward` may read it. Its memory is used again only once that has read it.
        """

    def forward(self, compute: Callable[[], Tensor]) -> Launched:
        """Launch the forward of the batch that was copied last.

        Its seconds are the device's, from events before and after it. On the CPU they are those
        that the calling thread computed, so decoders on the same cores do not lengthen them.

        Parameters
        ----------
        compute
            Gives the pooled states, ``(items, layer, dim)`` on the device.
        """


class HostCarrier:
    """Computes in the call, so that the result is complete when `forward` returns.

    Parameters
    ----------
    device
        The CPU, or an accelerator for which there is nothing faster.
    """

    def __init__(self, device: torch.device) -> None:
        # Elsewhere than on the CPU the thread computes nothing, it only waits for the states.
        self._clock = time.thread_time if device.type == "cpu" else time.perf_counter

    def ahead(self, upload: Callable[[], Batch]) -> Batch:
        """Return what is copied at once."""
        return upload()

    def forward(self, compute: Callable[[], Tensor]) -> Launched:
        """Compute the states."""
        begun = self._clock()
        states = compute().cpu().numpy()
        seconds = self._clock() - begun
        return Launched(lambda: states, lambda: seconds)


def carrier_of(device: torch.device) -> Carrier:
    """Return what is fastest for a device."""
    if device.type == "cuda":
        from crossan.extract.backbones.cuda_carrier import CudaCarrier

        return CudaCarrier(device)
    return HostCarrier(device)
