"""How long answers take, counted for metrics."""

from __future__ import annotations

import bisect
import threading
from dataclasses import dataclass

__all__ = ["BOUNDS", "Latency", "Stopwatch"]

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the buckets, in seconds."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Answers so far, as a Prometheus histogram counts them."""

    counts: tuple[int, ...]
    """Answers within each of `BOUNDS`, each bound's including those before it."""
    count: int
    """All answers."""
    seconds: float
    """Their sum."""
    failures: int
    """Requests without an answer, for want of a model that works."""


class Stopwatch:
    """Counts answers of any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds, self._failures = 0.0, 0

    def add(self, seconds: float) -> None:
        """Count one answer."""
        with self._lock:
            self._buckets[bisect.bisect_left(BOUNDS, seconds)] += 1
            self._seconds += seconds

    def add_failure(self) -> None:
        """Count one request without an answer."""
        with self._lock:
            self._failures += 1

    def read(self) -> Latency:
        """Return what has been counted."""
        with self._lock:
            within, total = [], 0
            for bucket in self._buckets:
                total += bucket
                within.append(total)
            return Latency(tuple(within[:-1]), total, self._seconds, self._failures)
