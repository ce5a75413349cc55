"""Places where trials run side by side: a device and threads for each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crossan.cache_schema.errors import UsageError

__all__ = ["Slot", "device_kind", "make_slots", "threads_each"]

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True, slots=True)
class Slot:
    """One place for one trial at a time."""

    device: str
    """``--device`` of the trial."""
    environment: Mapping[str, str]
    """Variables that keep the trial to its device and threads."""


def device_kind(asked: str) -> Literal["cpu", "cuda"]:
    """Return the kind of device asked for; ``auto`` takes CUDA where there is any.

    Raises
    ------
    UsageError
        It is not to be had here, or is one device of several.
    """
    if asked not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"--device {asked}: expected auto, cpu or cuda in a sweep, which spreads trials over devices",
            remedy=f"Name devices with {_VISIBLE}=0,1 --device cuda",
        )
    count = 0 if asked == "cpu" else _cuda_count()
    if asked == "cuda" and not count:
        raise UsageError(
            "--device cuda: no such device here", remedy="Use --device auto or --device cpu"
        )
    return "cuda" if count else "cpu"


def make_slots(kind: str, jobs: int | None, threads: int | None) -> list[Slot]:
    """Return one slot a job.

    Parameters
    ----------
    kind
        ``cpu`` or ``cuda``.
    jobs
        Trials side by side; None for one a CUDA device, or one on the CPU. More than there are devices share them.
    threads
        CPU threads of each; None for `threads_each`.

    Raises
    ------
    UsageError
        There is no such device.
    """
    devices = _cuda_names() if kind == "cuda" else []
    if kind == "cuda" and not devices:
        raise UsageError("--device cuda: the sweep runs on CUDA devices, and there is none here")
    jobs = jobs or max(1, len(devices))
    slots = []
    for number in range(jobs):
        variables = {_THREADS: str(threads or threads_each(jobs))}
        if devices:
            variables[_VISIBLE] = devices[number % len(devices)]
        slots.append(Slot(kind, variables))
    return slots


def threads_each(jobs: int) -> int:
    """Return this process's threads (``OMP_NUM_THREADS``, else its cores) divided by the jobs, at least one."""
    given = os.environ.get(_THREADS, "")
    total = int(given) if given.isdigit() and int(given) else len(os.sched_getaffinity(0))
    return max(1, total // jobs)


def _cuda_count() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _cuda_names() -> list[str]:
    """Return what selects each device: the names this process was given, where it was."""
    given = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    return (given or [str(number) for number in range(_cuda_count())])[: _cuda_count()]
