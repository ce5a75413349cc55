"""What a run's numbers depend on beside its settings: the machine class and the libraries.

The same settings on the same spec give the same bits. What is recorded for
information only (the command, libraries that compute nothing) is no part of it.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

__all__ = ["Spec", "current_spec", "exact_kernels", "provenance", "spec_differences"]

Spec = dict[str, str | int | None]
"""Facts by name, all of which a resumed run must share with the one before."""

_COMPUTING = ("crossan", "torch", "numpy")
"""Distributions whose code makes the numbers."""
_OTHERS = ("safetensors", "zarr", "pyarrow")


def current_spec(device: torch.device, compute_dtype: torch.dtype, rank_count: int = 1) -> Spec:
    """Return the spec of this process.

    Parameters
    ----------
    device
        Where the run computes.
    compute_dtype
        What it computes in.
    rank_count
        Processes that train together.
    """
    on_cuda = device.type == "cuda"
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if on_cuda else _processor(),
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "ranks": rank_count,
        "threads": torch.get_num_threads(),
        "compute_dtype": str(compute_dtype).removeprefix("torch."),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "cuda": torch.version.cuda if on_cuda else None,
        "cudnn": torch.backends.cudnn.version() if on_cuda else None,
        **{name: version(name) for name in _COMPUTING},
    }


def spec_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return one line for every fact that is not the same, ``name: then ..., now ...``."""
    return [
        f"{name}: {before.get(name)} then, {now.get(name)} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def provenance() -> dict[str, Any]:
    """Return what is recorded for information: the platform, the command and libraries that compute nothing."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in _OTHERS},
        "command": sys.argv,
    }


@contextmanager
def exact_kernels() -> Iterator[None]:
    """Have torch use only kernels whose result does not depend on how threads happen to run.

    Without it the gradient of looking an item's vector up is summed with
    atomic additions by several threads, on the CPU too, in any order.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by CUDA at its first matmul
    was_exact, was_filling = torch.are_deterministic_algorithms_enabled(), _filling()
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_exact)
        torch.utils.deterministic.fill_uninitialized_memory = was_filling  # type: ignore[attr-defined]


def _filling() -> bool:
    return bool(torch.utils.deterministic.fill_uninitialized_memory)  # type: ignore[attr-defined]


def _processor() -> str:
    """Return the processor's model: kernels are chosen by it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
