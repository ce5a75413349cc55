"""What the kernel tells of a process's descendants: the standard library alone, for the shim."""

# pathlib is slow to import.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os
import signal
from contextlib import suppress

__all__ = ["descendants", "kill_descendants", "memory_of_descendants", "read_stat"]


def descendants() -> dict[int, int]:
    """Return what descends from this process: process ids with their times of start."""
    parents, starts = {}, {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = read_stat(int(name))
            if fields:
                parents[int(name)], starts[int(name)] = int(fields[1]), int(fields[19])
    family = {os.getpid()}
    is_growing = True
    while is_growing:
        children = {child for child, parent in parents.items() if parent in family} - family
        family |= children
        is_growing = bool(children)
    return {process: starts[process] for process in family - {os.getpid()}}


def kill_descendants() -> None:
    """Send SIGKILL to everything that descends from this process."""
    for process, start in descendants().items():
        try:
            descriptor = os.pidfd_open(process)
        except OSError:
            continue
        with suppress(OSError):
            # Its number may be another's by now, but the descriptor stays with one process.
            fields = read_stat(process)
            if fields and int(fields[19]) == start:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


def memory_of_descendants(limit: int) -> int:
    """Return the bytes that all descendants hold together.

    Pages of mapped files are left out: the system takes them back when it needs room. Past the
    limit, pages that processes share are divided among them, which takes the system longer.
    """
    processes = list(descendants())
    names = ("RssAnon:", "RssShmem:", "VmSwap:")
    memory = sum(_kilobytes(process, "status", names) for process in processes) * 1024
    if memory > limit:
        names = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")
        shared = [_kilobytes(process, "smaps_rollup", names) for process in processes]
        memory = min(memory, sum(shared) * 1024) if all(shared) else memory
    return memory


def _kilobytes(process: int, file: str, names: tuple[str, ...]) -> int:
    try:
        with open(f"/proc/{process}/{file}") as lines:
            return sum(int(line.split()[1]) for line in lines if line.startswith(names))
    except (OSError, IndexError):
        return 0


def read_stat(process: int) -> list[str]:
    """Return what stands behind the name in a process's ``stat``, empty where it has ended."""
    try:
        with open(f"/proc/{process}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZXx" else fields
