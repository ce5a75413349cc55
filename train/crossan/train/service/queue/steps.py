"""The seam between the queue, which knows no step, and what each step does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from crossan.train.service.executors import Outcome
from crossan.train.service.queue.rows import RunRow, State

__all__ = ["Conclusion", "InServer", "Listener", "Program", "Skip", "Steps"]


@dataclass(frozen=True, slots=True)
class Program:
    """A step that a program does: one of ours, with arguments made from a closed spec."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InServer:
    """A step that takes milliseconds or copies files, done by a thread of the server.

    It may be done again after a restart, and must then end the same.
    """

    work: Callable[[], Mapping[str, Any]]
    """Returns the result of the run; a `CrossanError` fails it."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A step that has nothing to do."""

    reason: str


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the queue records of a run that ended."""

    state: State
    reason: str = ""
    result: Mapping[str, Any] | None = None


class Steps(Protocol):
    """Knows what each step of a run does."""

    def plan(self, run: RunRow) -> Program | InServer | Skip:
        """Return what the next attempt at a run does.

        Raises
        ------
        CrossanError
            It can never be done; the run fails with this reason.
        """

    def conclude(self, run: RunRow, outcome: Outcome) -> Conclusion:
        """Return how a run ended whose last attempt ended by itself, from the files it left.

        Called for exit code 0, and for one that no other attempt would change.
        """


Listener = Callable[[sqlite3.Connection, RunRow], None]
"""Told of each run that ended, within the transaction that records it."""
