"""Where the time of a job goes: reading, forward, writing, and which of them the others wait for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["StageClock"]


@dataclass(eq=False)
class StageClock:
    """Seconds of one job, by stage.

    The forward runs in the job's own thread, so what it does not spend in the
    forward it spends waiting for one of the two other stages.
    """

    worker_count: int
    computing: float = 0.0
    """From the first file opened to the last row on the disk, on the clock."""
    looking: float = 0.0
    """Finding out what is to be done: hashing files."""
    reading: float = 0.0
    """Workers on items, added up over the workers."""
    awaiting_inputs: float = 0.0
    """The forward's wait for the workers."""
    forwarding: float = 0.0
    awaiting_writer: float = 0.0
    """The forward's wait for the writer."""
    writing: float = 0.0
    """The writer, waiting for the device's results included."""

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - begun)

    @property
    def bottleneck(self) -> str:
        """The stage that the job would be faster without: ``reading``, ``forward`` or ``writing``."""
        spent = {
            "reading": self.awaiting_inputs,
            "forward": self.forwarding,
            "writing": self.awaiting_writer,
        }
        return max(spent, key=lambda stage: spent[stage])

    def to_text(self) -> str:
        """Return the line that live progress ends with."""
        total = self.awaiting_inputs + self.forwarding + self.awaiting_writer
        shares = {
            "reading": self.awaiting_inputs,
            "forward": self.forwarding,
            "writing": self.awaiting_writer,
        }
        share = 100 * shares[self.bottleneck] / total if total else 0.0
        return f"bottleneck {self.bottleneck} ({share:.0f}% of the time)"

    def to_dict(self, item_count: int) -> dict[str, Any]:
        """Return seconds, items per second and utilisation of each stage, for ``item_count`` items."""
        wall = self.computing
        stages = {
            "computing": (self.computing, 1),
            "reading": (self.reading, max(self.worker_count, 1)),
            "forward": (self.forwarding, 1),
            "writing": (self.writing, 1),
        }
        return {
            "looking": {"seconds": round(self.looking, 3)},
            **{
                name: {
                    "seconds": round(seconds, 3),
                    "items_per_second": round(item_count * count / seconds, 3) if seconds else None,
                    "utilisation": round(min(seconds / (wall * count), 1.0), 4) if wall else None,
                }
                for name, (seconds, count) in stages.items()
            },
        }
