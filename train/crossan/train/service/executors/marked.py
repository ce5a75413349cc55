"""The processes of an attempt, by the marker in their environment."""

from __future__ import annotations

import os
import time

import psutil

__all__ = ["MARKER", "kill_marked", "marked"]

MARKER = "CROSSAN_ATTEMPT"
"""Has the attempt's marker in the environment of each of its processes."""

_KILLING_SECONDS = 1.0
_PAUSE_SECONDS = 0.02


def marked(marker: str) -> list[psutil.Process]:
    """Return the living processes of this marker, wherever they descend from.

    Those of other users cannot be read, and are none of ours.
    """
    processes = []
    for process in psutil.process_iter():
        try:
            value = process.environ().get(MARKER)
        except (psutil.Error, OSError):
            continue  # it has ended meanwhile, or belongs to another user
        if value == marker and process.pid != os.getpid():
            processes.append(process)
    return processes


def kill_marked(marker: str) -> bool:
    """Kill every process of this marker, and return whether none is left.

    A process is not seen while it is replaced by another program, so only a second look that
    shows nobody counts.
    """
    deadline = time.monotonic() + _KILLING_SECONDS
    empty_looks = 0
    while empty_looks < 2:
        processes = marked(marker)
        empty_looks = 0 if processes else empty_looks + 1
        for process in processes:
            try:
                process.kill()  # psutil first checks that the number is still this process's
            except psutil.Error:
                continue
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True
