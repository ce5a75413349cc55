"""The spec of a run, which fixes its numbers together with its settings.

It names the class of the machine and the libraries that compute. The same
settings on the same spec give the same bits. What is recorded for information
only (the command, libraries that compute nothing) is no part of it.
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

from crossan.cache_schema.errors import IncompatibleError
from crossan.common.console import note

__all__ = [
    "Spec",
    "current_spec",
    "earlier_specs",
    "exact_kernels",
    "provenance",
    "spec_differences",
]

Spec = dict[str, str | int | None]
"""Facts by name, all of which must be the same where a run is resumed."""

_COMPUTING = ("crossan", "torch", "numpy")
"""Distributions whose code makes the numbers."""
_OTHERS = ("safetensors", "zarr", "pyarrow")
"""Distributions that compute nothing, recorded for information."""
_COMPILER = "torch._inductor.config"


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
    """Return one line for every fact that differs, each with its name and both values."""
    return [
        f"{name}: {before.get(name)} then, {now.get(name)} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def earlier_specs(
    folder: Path, recorded: Mapping[str, Any], spec: Spec, *, may_differ: bool
) -> list[Any]:
    """Return the specs that a run was trained on before this one, the latest last.

    Parameters
    ----------
    folder
        The run folder.
    recorded
        What its ``env.json`` holds.
    spec
        The spec of this process.
    may_differ
        Whether the run may be resumed on another spec.

    Raises
    ------
    IncompatibleError
        The specs differ and ``may_differ`` is not set.
    """
    before, earlier = recorded.get("spec", {}), recorded.get("earlier", [])
    changed = spec_differences(before, spec)
    if not changed:
        return list(earlier)
    listed = "\n  ".join(changed)
    if not may_differ:
        raise IncompatibleError(
            f"--resume {folder}: the run there was trained on another spec, and its numbers"
            f" depend on it\n  {listed}",
            remedy="Go on where it was begun (threads: OMP_NUM_THREADS), or accept other"
            " numbers: --allow-other-spec",
        )
    note(
        f"going on with another spec, so the numbers are no longer those of one machine\n  {listed}"
    )
    return [*earlier, before]


def provenance() -> dict[str, Any]:
    """Return what is recorded for information only.

    That is the platform, the command, and the libraries that compute nothing.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in _OTHERS},
        "command": sys.argv,
    }


@contextmanager
def exact_kernels() -> Iterator[None]:
    """Make torch use only kernels whose result does not depend on the timing of threads.

    Without it, several threads sum the gradient of looking up an item's vector
    with atomic additions, in any order, on the CPU too.
    """
    # cuBLAS reads it at the first matmul and needs a fixed workspace to add up in a fixed order.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings: Any = torch.utils.deterministic  # its attribute is not in torch's type stubs
    was_exact = torch.are_deterministic_algorithms_enabled()
    was_filling = bool(settings.fill_uninitialized_memory)
    _use_exact(True)
    # By default torch then also fills every new tensor, which costs time and fixes nothing here:
    # no number depends on memory that was not written.
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        _use_exact(was_exact)
        settings.fill_uninitialized_memory = was_filling


def _use_exact(is_exact: bool) -> None:
    """Do as `torch.use_deterministic_algorithms`, which loads torch's compiler to tell it so."""
    if _COMPILER in sys.modules:
        torch.use_deterministic_algorithms(is_exact)
        return
    # A model of somebody else's may compile a part of itself yet: the compiler reads it here.
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    torch.set_deterministic_debug_mode("error" if is_exact else "default")


def _processor() -> str:
    """Return the model of the processor, by which libraries choose their kernels."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    for line in lines:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
