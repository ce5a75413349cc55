"""How far work has come, how fast it goes and how long it will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from crossan.common.console.messages import note

__all__ = ["Progress", "progress"]

_SECONDS_BETWEEN_PLAIN_LINES = 5.0


class Progress:
    """Count work done and say now and then how fast it goes and how long it will take.

    On a terminal the line is rewritten in place; elsewhere one plain line
    appears every few seconds. Nothing is printed for work under two seconds.

    Parameters
    ----------
    label
        What is being done, for example ``"extract video"``.
    total
        How many units there are in all.
    unit
        Name of one unit in the plural, for example ``"items"``.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done = 0
        self._start = time.monotonic()
        self._printed_at = self._start
        self._is_terminal = sys.stderr.isatty()
        self._has_open_line = False

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Add ``count`` finished units and print when it is time to."""
        self._done += count
        now = time.monotonic()
        wait = 0.2 if self._is_terminal else _SECONDS_BETWEEN_PLAIN_LINES
        if now - self._start < 2.0 or now - self._printed_at < wait:
            return
        self._printed_at = now
        self._print(now, detail)

    def close(self) -> None:
        """End a line that is still being rewritten."""
        if self._has_open_line:
            print(file=sys.stderr, flush=True)
            self._has_open_line = False

    def _print(self, now: float, detail: str) -> None:
        rate = self._done / max(now - self._start, 1e-9)
        remaining = (self._total - self._done) / rate if rate > 0 else float("inf")
        line = f"{self._label}: {self._done:,}/{self._total:,} {self._unit}, {rate:,.1f}/s, ETA {_clock(remaining)}"
        if detail:
            line = f"{line}, {detail}"
        if self._is_terminal:
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
            self._has_open_line = True
        else:
            note(line)


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Progress]:
    """Yield a `Progress` and close its line however the block ends."""
    shown = Progress(label, total, unit)
    try:
        yield shown
    finally:
        shown.close()


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
