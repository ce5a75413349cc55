"""The processes of an attempt, by the marker in their environment."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from crossan.train.service.executors.process_tree import read_stat

__all__ = ["MARKER", "kill_marked", "marked"]

MARKER = "CROSSAN_ATTEMPT"
"""Has the attempt's marker in the environment of each of its processes."""

_KILLING_SECONDS = 1.0
_PAUSE_SECONDS = 0.02
_YOUNG_SECONDS = 30.0
"""Age at which a process without arguments is taken to have none, rather than to begin a program."""


def marked(marker: str) -> list[psutil.Process]:
    """Return the living processes of this marker, wherever they descend from.

    Those of other users cannot be read, and are none of ours.
    """
    return _look(marker)[0]


def kill_marked(marker: str) -> bool:
    """Kill every process of this marker, and return whether none is left.

    A process shows no environment while it is replaced by another program, so only two looks that
    show nobody, nor anybody of whom that could be so, count.
    """
    deadline = time.monotonic() + _KILLING_SECONDS
    empty_looks = 0
    while empty_looks < 2:
        processes, is_certain = _look(marker)
        empty_looks = empty_looks + 1 if is_certain and not processes else 0
        for process in processes:
            try:
                process.kill()  # psutil first checks that the number is still this process's
            except psutil.Error:
                continue
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def _look(marker: str) -> tuple[list[psutil.Process], bool]:
    """Return the processes of a marker, and whether each process could be told apart."""
    processes, is_certain = [], True
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get(MARKER) == marker and process.pid != os.getpid():
                processes.append(process)
            elif not environment and not process.cmdline() and _is_young(process.pid):
                is_certain = False
        except (psutil.Error, OSError):
            continue  # it has ended meanwhile, or belongs to another user
    return processes, is_certain


def _is_young(process_id: int) -> bool:
    """Return whether a process has just begun, and is none of the kernel's own threads."""
    fields = read_stat(process_id)
    if not fields or fields[1] in {"0", "2"}:
        return False
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK") < _YOUNG_SECONDS
