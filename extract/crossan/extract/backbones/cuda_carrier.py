"""Copies beside the forwards of a CUDA device, on streams of their own.

Forwards run on the current stream. Batches are copied to the device on a second stream and hidden
states from it on a third: on the second they would hold up the next batch until their forward is
over. Host memory is pinned, from which the device copies by itself. torch's allocators do not hand
out memory again while a copy or a stream that was named to them still needs it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from crossan.extract.backbones.batches import Batch
from crossan.extract.backbones.launched import Launched, States

__all__ = ["CudaCarrier"]


class CudaCarrier:
    """Queue copies and forwards on one device, and wait for none of them.

    Parameters
    ----------
    device
        A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._uploads = torch.cuda.Stream(device)
        self._downloads = torch.cuda.Stream(device)

    def ahead(self, upload: Callable[[], Batch]) -> Batch:
        """Queue the copy of a batch beside the forwards."""
        with torch.cuda.stream(self._uploads):
            batch = upload()
        forwards = torch.cuda.current_stream(self._device)
        forwards.wait_event(self._uploads.record_event())
        for tensor in batch.tensors.values():
            # Made on one stream and read on another: without this its memory would be used again
            # as soon as it is let go of, while the forward still reads it.
            tensor.record_stream(forwards)
        return batch

    def forward(self, compute: Callable[[], Tensor]) -> Launched:
        """Queue a forward behind the copy of its batch, and the copy of its states behind it."""
        forwards = torch.cuda.current_stream(self._device)
        begun = forwards.record_event(torch.cuda.Event(enable_timing=True))
        states = compute()
        ended = forwards.record_event(torch.cuda.Event(enable_timing=True))
        self._downloads.wait_event(ended)
        host = torch.empty(states.shape, dtype=states.dtype, pin_memory=True)
        with torch.cuda.stream(self._downloads):
            host.copy_(states, non_blocking=True)
        states.record_stream(self._downloads)
        # A blocking event sleeps where others spin, and so leaves the cores to the decoders.
        copied = self._downloads.record_event(torch.cuda.Event(blocking=True))

        def fetch() -> States:
            copied.synchronize()
            states_on_host: States = host.numpy()
            return states_on_host

        return Launched(fetch, lambda: begun.elapsed_time(ended) / 1e3)
