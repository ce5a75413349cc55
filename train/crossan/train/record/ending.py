"""The request to end a training early, which is a file in its run folder.

A file works wherever the run folder does: under torchrun, Slurm, Ray and the training service,
none of which hands every signal on to the process that trains.
"""

from __future__ import annotations

import time
from pathlib import Path

from crossan.common.files import remove_durably, replace_durably

__all__ = ["END_FILE", "EndWatch", "is_end_requested", "request_end", "withdraw_end"]

END_FILE = "end-here"
_SECONDS_BETWEEN_LOOKS = 1.0
"""A look asks the file system, which may be far away."""


def request_end(run: Path) -> None:
    """Ask the training of a run to end and to be evaluated."""
    replace_durably(run / END_FILE, b"")


def withdraw_end(run: Path) -> None:
    """Let a run train on, once it is resumed."""
    remove_durably(run / END_FILE)


def is_end_requested(run: Path) -> bool:
    """Whether the training of a run was asked to end."""
    return (run / END_FILE).exists()


class EndWatch:
    """Looks for the request, at most once a second.

    Parameters
    ----------
    run
        The run folder.
    """

    def __init__(self, run: Path) -> None:
        self._run, self._is_requested = run, False
        self._next_look = time.monotonic()

    def is_requested(self, *, now: bool = False) -> bool:
        """Return whether the training was asked to end, at the last look or ``now``."""
        time_now = time.monotonic()
        if not self._is_requested and (now or time_now >= self._next_look):
            self._is_requested = is_end_requested(self._run)
            self._next_look = time_now + _SECONDS_BETWEEN_LOOKS
        return self._is_requested
