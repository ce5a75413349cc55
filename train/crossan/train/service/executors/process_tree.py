"""What the kernel tells of a process's descendants: the standard library alone, for the shim."""

# pathlib is slow to import.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os
import signal
from contextlib import suppress

__all__ = ["Memory", "descendants", "kill_descendants", "read_stat"]


_HELD = ("RssAnon:", "RssShmem:", "VmSwap:")
_SHARES = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")
_LOOKS_UNTIL_ALL = 60
"""Looks at memory after which every process of the machine is asked again whose child it is."""


class Memory:
    """Adds up what all descendants of this process hold.

    A process that descends from another one now will not descend from this one later, so most
    processes of a machine are asked once. Their numbers are used again, so not once for ever.
    """

    def __init__(self) -> None:
        self._strangers: set[int] = set()
        self._looks = 0

    def look(self, limit: int) -> int:
        """Return the bytes that are held.

        Pages of mapped files are left out: the system takes them back when it needs room. Past
        ``limit``, pages that processes share are divided among them, which takes the system longer.
        """
        if self._looks % _LOOKS_UNTIL_ALL == 0:
            self._strangers.clear()
        self._looks += 1
        processes = _processes()
        self._strangers &= processes
        family = _descendants(processes - self._strangers)
        self._strangers = processes - set(family)
        held = sum(_kilobytes(process, "status", _HELD) for process in family) * 1024
        if held <= limit:
            return held
        # What one that ends meanwhile shared falls to those that are counted behind it, so that it
        # counts more than once: of two counts the smaller one is true.
        return 1024 * min(_divided(family), _divided(family))


def descendants() -> dict[int, int]:
    """Return what descends from this process: process ids with their times of start."""
    return _descendants(_processes())


def kill_descendants() -> None:
    """Send SIGKILL to everything that descends from this process."""
    for process, start in descendants().items():
        try:
            descriptor = os.pidfd_open(process)
        except OSError:
            continue
        with suppress(OSError):
            # Its number may be another's by now, but the descriptor stays with one process.
            fields = _stat(process)
            if fields and int(fields[19]) == start:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


def _processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _descendants(processes: set[int]) -> dict[int, int]:
    parents, starts = {}, {}
    for process in processes:
        fields = _stat(process)
        if fields:
            parents[process], starts[process] = int(fields[1]), int(fields[19])
    family = {os.getpid()}
    is_growing = True
    while is_growing:
        children = {child for child, parent in parents.items() if parent in family} - family
        family |= children
        is_growing = bool(children)
    return {process: starts[process] for process in family - {os.getpid()}}


def _divided(family: dict[int, int]) -> int:
    """Return the kilobytes that processes hold, shared pages divided among those that share them."""
    shares = 0
    for process in family:
        share = _kilobytes(process, "smaps_rollup", _SHARES)
        # Some may not be looked into. One that has ended holds nothing.
        shares += share or _kilobytes(process, "status", _HELD)
    return shares


def _kilobytes(process: int, file: str, names: tuple[str, ...]) -> int:
    try:
        with open(f"/proc/{process}/{file}") as lines:
            return sum(int(line.split()[1]) for line in lines if line.startswith(names))
    except (OSError, IndexError):
        return 0


def read_stat(process: int) -> list[str]:
    """Return what stands behind the name in a process's ``stat``, empty where it has ended."""
    fields = _stat(process)
    return [] if not fields or fields[0] in "ZXx" else fields


def _stat(process: int) -> list[str]:
    """Return the same also for a process whose first thread has ended, while others may live."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
