"""Steps as CUDA graphs, and copies beside them.

A graph repeats the kernels of a step by one launch. It reads and writes the addresses that the
step had, so a step must touch no memory but what is kept, and its own from a pool that all graphs
share: they run one after the other, and none reads what another left there. Dropout draws by
torch's generator of the device. A graph adds to its offset what the kernels would have added, so
random numbers, and the state that a checkpoint holds, are those of a step without a graph
(CUDAGeneratorImpl.h, "CUDA Graph-safe RNG states").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from crossan.cache_schema.errors import ResourceError
from crossan.common.memory import first_line, ran_out_of_memory
from crossan.train.features.interface import GatheredInputs
from crossan.train.ranks.ranks import RankLostError

__all__ = ["CudaRecorder"]


class CudaRecorder:
    """Record steps as CUDA graphs on one device.

    Parameters
    ----------
    device
        A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # Not the default stream: it cannot be captured, nor can gradients that were first
        # accumulated on it.
        self._steps = torch.cuda.Stream(device)
        self._copies = torch.cuda.Stream(device)
        # What uploads read on the device was put there before, on another stream.
        self._copies.wait_stream(torch.cuda.current_stream(device))
        self._pool = torch.cuda.graph_pool_handle()
        self._uploads_allowed: deque[torch.cuda.Event] = deque()

    def host_memory(self, length: int) -> Tensor:
        """Return an uninitialised uint8 tensor in pinned memory, which torch uses again."""
        return torch.empty(length, dtype=torch.uint8, pin_memory=True)

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """Queue the block on the stream of the steps, between all else that is queued."""
        others = torch.cuda.current_stream(self._device)
        self._steps.wait_stream(others)
        with torch.cuda.stream(self._steps):
            yield
        others.wait_stream(self._steps)

    def ahead(self, upload: Callable[[], GatheredInputs]) -> GatheredInputs:
        """Queue an upload beside the steps."""
        # Passed by the device when the steps that are queued now are done. The host waits for the
        # one of the last call: the step of that call may still compute, the one before may not.
        self._uploads_allowed.append(self._steps.record_event())
        if len(self._uploads_allowed) > 1:
            self._uploads_allowed.popleft().synchronize()
        with torch.cuda.stream(self._copies):
            inputs, presence = upload()
        self._steps.wait_stream(self._copies)
        for tensor in (*inputs, presence):
            # Made on one stream and read on another: without this its memory would be used again
            # as soon as it is let go of, while the step still reads it.
            tensor.record_stream(self._steps)
        return inputs, presence

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Capture a step, which computes nothing, and return its replay.

        Raises
        ------
        ResourceError
            The device cannot hold the step as a graph.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            # The thread that prepares the next batch allocates pinned memory meanwhile, which a
            # capture in the mode "global" forbids to every thread.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._steps, capture_error_mode="thread_local"
            ):
                step()
        except (RuntimeError, RankLostError) as error:
            # No rank is asked for anything in a capture, so none was lost.
            cause = (isinstance(error, RankLostError) and error.__cause__) or error
            if ran_out_of_memory(cause):
                raise
            # Nothing can go on in this process: the generator of random numbers is left as if the
            # capture were under way.
            reason = first_line(cause)
            raise ResourceError(
                f"a training step cannot be recorded as a CUDA graph: {reason}",
                remedy="Add --no-recording, and --resume where a checkpoint was written",
            ) from error
        return graph.replay
