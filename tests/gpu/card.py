"""The device: what it is, what it can do at best, and how work on it is timed."""

from __future__ import annotations

import gc
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["Card"]

_LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync")
"""Calls by which the host gives a card work, as the profiler names them."""


class Card:
    """A CUDA device, or the CPU of a dry run.

    Parameters
    ----------
    device
        Where everything is computed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_cuda = device.type == "cuda"
        self.name = torch.cuda.get_device_name(device) if self.is_cuda else "CPU"

    def facts(self) -> dict[str, str]:
        """Return what a reader needs to judge the figures."""
        facts = {
            "device": self.name,
            "torch": torch.__version__,
            "Python": platform.python_version(),
        }
        if self.is_cuda:
            seen = torch.cuda.get_device_properties(self.device)
            facts |= {
                "CUDA": str(torch.version.cuda),
                "memory": f"{seen.total_memory / 2**30:.0f} GiB",
                "multiprocessors": str(seen.multi_processor_count),
            }
        return facts

    def wait(self) -> None:
        """Return when the device has done all that it was given."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], rounds: int) -> float:
        """Return the median time of a piece of work, after two rounds to warm up."""
        for _ in range(2):
            work()
        taken = []
        for _ in range(rounds):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - begun)
        return statistics.median(taken)

    def peak_bytes(self, work: Callable[[], object]) -> tuple[int, int]:
        """Return the most memory in use during the work, and the most taken from the device.

        Both are 0 on a CPU. What recordings compute in stays taken, but is in use only while they
        are made.
        """
        if not self.is_cuda:
            work()
            return 0, 0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        self.wait()
        in_use = torch.cuda.max_memory_allocated(self.device)
        return in_use, torch.cuda.max_memory_reserved(self.device)

    @contextmanager
    def limited(self, byte_count: int) -> Iterator[None]:
        """Give this process no more of a card's memory than this inside the block."""
        if not self.is_cuda:
            yield
            return
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(self.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(byte_count / total, 1.0), self.device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, self.device)
            gc.collect()
            torch.cuda.empty_cache()

    def launches(self, work: Callable[[], object]) -> tuple[int, str]:
        """Return how often the host gave the device work, and the table of the longest kernels.

        On a CPU the calls of operators that compute stand in for the launches.
        """
        work()
        self.wait()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.is_cuda else [])]
        with profile(activities=activities) as seen:
            work()
            self.wait()
        averages = seen.key_averages()
        order = "self_device_time_total" if self.is_cuda else "self_cpu_time_total"
        table = averages.table(sort_by=order, row_limit=25, max_name_column_width=60)
        given = [
            average.count
            for average in averages
            if not self.is_cuda or average.key.startswith(_LAUNCHES)
        ]
        return sum(given), table

    def product_rate(self, rows: int, rounds: int, dtype: torch.dtype) -> float:
        """Return the operations per second of a large product of square matrices."""
        left, right = (torch.randn(rows, rows, device=self.device).to(dtype) for _ in range(2))
        return 2 * rows**3 / self.seconds(lambda: left @ right, rounds)

    def bandwidth(self, size: int, rounds: int) -> float:
        """Return the bytes per second, read and written, of a large copy on the device."""
        source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return 2 * size / self.seconds(lambda: target.copy_(source), rounds)

    def exact(self) -> AbstractContextManager[object]:
        """Return a block in which float32 products are those of float32, and not of TF32."""
        if not self.is_cuda:
            return nullcontext()
        return _FullPrecision()


class _FullPrecision:
    """Products of float32 without TF32, as long as the block lasts."""

    def __enter__(self) -> None:
        self._before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")

    def __exit__(self, *_: object) -> None:
        torch.set_float32_matmul_precision(self._before)
