"""Slots in which trials run side by side, each with a device and threads."""

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
    """Room for one trial at a time."""

    device: str
    """``--device`` of the trial."""
    environment: Mapping[str, str]
    """Variables that keep the trial to its device and threads."""


def device_kind(device: str) -> Literal["cpu", "cuda"]:
    """Return the kind of a device that was requested, where ``auto`` prefers CUDA.

    Raises
    ------
    UsageError
        This machine has no such device, or one device of several is named.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"--device {device}: expected auto, cpu or cuda in a sweep,"
            " which spreads trials over devices",
            remedy=f"Name devices with {_VISIBLE}=0,1 --device cuda",
        )
    count = 0 if device == "cpu" else _cuda_count()
    if device == "cuda" and not count:
        raise UsageError(
            "--device cuda: not available on this machine",
            remedy="Use --device auto or --device cpu",
        )
    return "cuda" if count else "cpu"


def make_slots(kind: str, jobs: int | None, threads: int | None) -> list[Slot]:
    """Return one slot for every job.

    Parameters
    ----------
    kind
        ``cpu`` or ``cuda``.
    jobs
        Trials to run side by side. None means one per CUDA device, or one on
        the CPU. More jobs than devices share them.
    threads
        CPU threads of each job, or None for `threads_each`.

    Raises
    ------
    UsageError
        This machine has no such device.
    """
    devices = _cuda_names() if kind == "cuda" else []
    if kind == "cuda" and not devices:
        raise UsageError("--device cuda: the sweep runs on CUDA devices, and this machine has none")
    jobs = jobs or max(1, len(devices))
    slots = []
    for number in range(jobs):
        # Without a limit each trial would start a thread per core, and the trials would contend.
        variables = {_THREADS: str(threads or threads_each(jobs))}
        if devices:
            variables[_VISIBLE] = devices[number % len(devices)]
        slots.append(Slot(kind, variables))
    return slots


def threads_each(jobs: int) -> int:
    """Return the threads of this process divided by the jobs, but at least one.

    They are ``OMP_NUM_THREADS``, or else the cores that it may use.
    """
    given = os.environ.get(_THREADS, "")
    total = int(given) if given.isdigit() and int(given) else len(os.sched_getaffinity(0))
    return max(1, total // jobs)


def _cuda_count() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _cuda_names() -> list[str]:
    """Return the name that selects each device in ``CUDA_VISIBLE_DEVICES``."""
    count = _cuda_count()
    # The names that this process was given: numbers counted within them would select other devices
    # in a trial.
    given = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    return (given or [str(number) for number in range(count)])[:count]
