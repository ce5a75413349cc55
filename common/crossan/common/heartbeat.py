"""A sign of life for whoever started this process and waits for it.

The variable ``CROSSAN_HEARTBEAT`` names a file. Long work touches it, so that one whose file
has not been touched for a while can be taken to hang.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import monotonic

__all__ = ["VARIABLE", "beat"]

VARIABLE = "CROSSAN_HEARTBEAT"
_SECONDS_BETWEEN_BEATS = 1.0

_next_beat_at = 0.0


def beat() -> None:
    """Touch the file that ``CROSSAN_HEARTBEAT`` names, at most once a second.

    Nothing happens without the variable. A file that cannot be touched stops no work.
    """
    global _next_beat_at
    now = monotonic()
    # First of all, since inner loops call this: a look at the clock is all that most calls cost.
    if now < _next_beat_at:
        return
    _next_beat_at = now + _SECONDS_BETWEEN_BEATS
    named = os.environ.get(VARIABLE)
    if named:
        with suppress(OSError):
            Path(named).touch()
