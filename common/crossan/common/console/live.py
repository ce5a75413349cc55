"""How far work has come, how fast it goes and how long it will take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from crossan.common.console.messages import note
from crossan.common.console.screen import screen
from crossan.common.console.streams import is_terminal
from crossan.common.heartbeat import beat

__all__ = ["Progress", "progress"]

_QUIET_SECONDS = 2.0
_SECONDS_BETWEEN_DRAWINGS = 0.2
_SECONDS_BETWEEN_PLAIN_LINES = 5.0
_BYTES = "bytes"
_BYTES_PER_MB = 1e6


class Progress:
    """Count work done and say now and then how fast it goes and how long it will take.

    On a terminal one line is drawn in place, and goes when the work ends;
    elsewhere one plain line appears every few seconds. Nothing is printed for
    work under two seconds.

    Parameters
    ----------
    label
        What is being done, for example ``"extract video"``.
    total
        How many units there are in all.
    unit
        Name of one unit in the plural, for example ``"items"``; ``"bytes"``
        are printed as MB.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.done = label, total, 0
        self._unit, self._detail = unit, ""
        self._start = self._now = self._printed_at = monotonic()
        self._is_live = is_terminal(sys.stderr)
        self._is_closed = False
        beat()

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Add ``count`` finished units and print when it is time to.

        It beats the process's heart, too (`crossan.common.heartbeat`).
        """
        beat()
        self.done += count
        self._detail = detail
        self._now = monotonic()
        wait = _SECONDS_BETWEEN_DRAWINGS if self._is_live else _SECONDS_BETWEEN_PLAIN_LINES
        if self._now - self._start < _QUIET_SECONDS or self._now - self._printed_at < wait:
            return
        self._printed_at = self._now
        if not self._is_live:
            note(f"{self.label}: {self._joined(with_elapsed=False)}")
        elif not self._is_closed:
            screen.show(self)

    def figures(self) -> str:
        """Return counts, rate, times and the last detail, as a live line shows them."""
        return self._joined(with_elapsed=True)

    def close(self) -> None:
        """Take the live line away, for good."""
        self._is_closed = True
        screen.hide(self)

    def _joined(self, *, with_elapsed: bool) -> str:
        seconds = self._now - self._start
        rate = self.done / max(seconds, 1e-9)
        remaining = (self.total - self.done) / rate if rate > 0 else float("inf")
        if self._unit == _BYTES:
            counts = f"{self.done / _BYTES_PER_MB:,.1f}/{self.total / _BYTES_PER_MB:,.1f} MB"
            speed = f"{rate / _BYTES_PER_MB:,.1f} MB/s"
        else:
            counts, speed = f"{self.done:,}/{self.total:,} {self._unit}", f"{rate:,.1f}/s"
        parts = [counts, speed, f"ETA {_clock(remaining)}"]
        if with_elapsed:
            parts.insert(2, _clock(seconds))
        return ", ".join([*parts, self._detail] if self._detail else parts)


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Progress]:
    """Yield a `Progress` and take its line away however the block ends."""
    counted = Progress(label, total, unit)
    try:
        yield counted
    finally:
        counted.close()


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
