"""The protocol between the queue and whatever runs an attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

__all__ = ["Attempt", "Executor", "Job", "Outcome", "Sighting", "StopReason"]

StopReason = Literal["exited", "cancelled", "too long", "too much memory", "silent", "lost"]
"""Why an attempt ended: by itself, by a client, by one of its limits, or with its machine."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a run."""

    run_id: int
    number: int
    """Counts from 1. Only the outcome of the latest is taken, so a result is published once."""
    folder: Path
    """Its job, log and outcome."""
    marker: str
    """Value of ``CROSSAN_ATTEMPT`` in the environment of each of its processes."""


@dataclass(frozen=True, slots=True)
class Job:
    """What an attempt does."""

    argv: tuple[str, ...]
    """The program with its arguments: one of ours, made from a closed spec."""
    environment: Mapping[str, str]
    """Variables beside those of the server."""
    memory_bytes: int
    seconds: float
    silent_seconds: float
    cpus: int
    devices: tuple[int, ...] = ()
    """GPUs that it may use."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    ``outcome.json`` in its folder is this.
    """

    reason: StopReason
    exit_code: int | None = None
    """Negative for a signal; None where nobody saw it."""
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    message: str = ""
    """The last lines of its log that tell an error."""
    has_begun: bool = True
    """False where the server died while it started the attempt, and no program ever ran."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a look at an attempt shows: it goes on, or it ended."""

    is_alive: bool
    outcome: Outcome | None = None
    """How it ended; None while it is alive."""


class Executor(Protocol):
    """Runs attempts somewhere, outlives the server, and finds them again."""

    name: str

    def start(self, attempt: Attempt, job: Job) -> str:
        """Start an attempt and return a handle by which it is found again after a restart.

        At once, without waiting for the program.
        """

    def look(self, attempt: Attempt, handle: str | None) -> Sighting:
        """Return how an attempt is.

        Once this says that it ended, none of its processes lives. Without a handle, the server
        died while it started the attempt, which may live all the same.
        """

    def stop(self, attempt: Attempt, handle: str | None) -> None:
        """Ask an attempt to end, all its processes with it.

        Returns at once. Its outcome comes from `look` within 15 seconds. It may be called again.
        """
