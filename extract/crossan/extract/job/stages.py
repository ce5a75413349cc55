"""Measure where the time of a job goes."""

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

    Forwards are launched by the job's own thread. What it does not spend in that it spends
    waiting for the workers, or for the writer, which waits for the device in turn.
    """

    worker_count: int
    computing: float = 0.0
    """From the first file opened to the last row on the disk, on the clock."""
    looking: float = 0.0
    """Hashing files, to find out what remains to be done."""
    reading: float = 0.0
    """Workers on items, added up over the workers."""
    awaiting_inputs: float = 0.0
    """The forward's wait for the workers."""
    launching: float = 0.0
    """Copying batches and launching forwards, which the CPU computes in the launch."""
    forwarding: float = 0.0
    """The device in forwards, as `crossan.extract.backbones.carrier.Carrier.forward` has it."""
    awaiting_writer: float = 0.0
    """The forward's wait for the writer."""
    awaiting_device: float = 0.0
    """The writer's wait for hidden states."""
    writing: float = 0.0

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
        """The stage that the job waits for, ``reading``, ``forward`` or ``writing``."""
        held_up = self._held_up()
        return max(held_up, key=lambda stage: held_up[stage])

    def _held_up(self) -> dict[str, float]:
        # Seen from the thread that launches: reading and writing run beside it, and cost the job
        # only the time that this thread waits for them. While it waits for the writer, that waits
        # for the device or writes, and either has the share that it takes of the writer's time.
        of_writer = self.awaiting_device + self.writing
        awaiting_device = (
            self.awaiting_writer * self.awaiting_device / of_writer if of_writer else 0.0
        )
        return {
            "reading": self.awaiting_inputs,
            "forward": self.launching + awaiting_device,
            "writing": self.awaiting_writer - awaiting_device,
        }

    @property
    def device_rate_reached(self) -> float | None:
        """The items per second of the job, as a fraction of those of its forwards alone.

        That is the share of the time of computing in which the device was in a forward; None
        where nothing was computed.
        """
        # Two clocks measure it, which may differ in the last digits.
        return round(min(self.forwarding / self.computing, 1.0), 4) if self.computing else None

    def to_text(self) -> str:
        """Return the line that live progress ends with."""
        held_up, bottleneck = self._held_up(), self.bottleneck
        total = sum(held_up.values())
        share = 100 * held_up[bottleneck] / total if total else 0.0
        return f"bottleneck {bottleneck} ({share:.0f}% of the time)"

    def to_dict(self, item_count: int) -> dict[str, Any]:
        """Return seconds, items per second and utilisation of each stage.

        Parameters
        ----------
        item_count
            Items that the job did.
        """
        stages = {
            "computing": (self.computing, 1),
            "reading": (self.reading, max(self.worker_count, 1)),
            "forward": (self.forwarding, 1),
            "writing": (self.writing, 1),
        }
        report: dict[str, Any] = {"looking": {"seconds": round(self.looking, 3)}}
        for name, (seconds, thread_count) in stages.items():
            rate = item_count * thread_count / seconds if seconds else None
            used = seconds / (self.computing * thread_count) if self.computing else None
            report[name] = {
                "seconds": round(seconds, 3),
                "items_per_second": None if rate is None else round(rate, 3),
                # Seconds added up over threads may come to a little more than the clock's.
                "utilisation": None if used is None else round(min(used, 1.0), 4),
            }
        return report
