"""An attempt that goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossan.cache_schema.errors import CrossanError
from crossan.train.service.executors import Attempt, Job, Outcome
from crossan.train.service.queue.rows import RunRow
from crossan.train.service.queue.steps import Program

__all__ = ["LiveAttempt", "job_of"]

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LiveAttempt:
    """An attempt whose end is not yet recorded."""

    run: RunRow
    """As it was when the attempt began; its number is the fence."""
    attempt: Attempt
    is_in_server: bool
    handle: str | None = None
    outcome: Outcome | None = None
    result: Mapping[str, Any] | None = None
    is_told_to_stop: bool = False
    complaint: str = ""

    def complain(self, error: Exception) -> None:
        """Log an error, once however often it comes again."""
        if str(error) != self.complaint:
            self.complaint = str(error)
            trace = None if isinstance(error, CrossanError) else error
            _logger.error("run %d cannot be looked at: %s", self.run.id, error, exc_info=trace)


def job_of(run: RunRow, plan: Program, devices: tuple[int, ...]) -> Job:
    """Return what an attempt at a run does within the run's limits."""
    limits = run.limits
    return Job(
        argv=plan.argv,
        environment=plan.environment,
        memory_bytes=int(limits.memory_gib * 2**30),
        seconds=limits.hours * 3600,
        silent_seconds=limits.silent_minutes * 60,
        cpus=limits.cpus,
        devices=devices,
    )
