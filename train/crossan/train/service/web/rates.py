"""How often each token may call."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Rates"]


class Rates:
    """A bucket of requests for each caller, which fills at a steady rate.

    Parameters
    ----------
    per_second
        Requests that a bucket gains each second.
    burst
        Requests that it holds at most.
    clock
        Returns seconds that never go back.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_seconds(self, caller: str) -> float:
        """Take one request from a caller's bucket.

        Returns
        -------
        float
            Seconds until the bucket holds one; 0 where it held one, which is then taken.
        """
        now = self._clock()
        level, then = self._buckets.get(caller, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._per_second)
        if level < 1:
            self._buckets[caller] = (level, now)
            return (1 - level) / self._per_second
        self._buckets[caller] = (level - 1, now)
        return 0.0
