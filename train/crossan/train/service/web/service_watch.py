"""What changed since the last look, in the whole service."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossan.train.service.queue.rows import State, Step
from crossan.train.service.server import Service
from crossan.train.service.web.following import Event, QueueWatch
from crossan.train.service.web.slices import CURVE_FILE

__all__ = ["ServiceWatch"]

_LATEST_NIGHTS = 20
"""Nights that are looked at. Of one dataset a single one is under way."""
_Subject = tuple[str, str]
"""Name of an event, and what it is about."""


class ServiceWatch:
    """Looks at runs, nights, triggers, aliases, epochs, and at the model that answers.

    Parameters
    ----------
    service
        The service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._queue = QueueWatch(service)
        self._seen = self._states()

    def look(self) -> list[Event]:
        """Return what changed: runs first, then the rest by its kind."""
        runs = self._queue.look()
        before, self._seen = self._seen, self._states()
        changed = [
            Event(kind, dict(state))
            for (kind, subject), state in self._seen.items()
            if before.get((kind, subject)) != state
        ]
        removed = [
            Event(kind, {"name": subject, "is_removed": True})
            for kind, subject in before
            if kind == "trigger" and (kind, subject) not in self._seen
        ]
        return [*runs, *changed, *removed]

    def _states(self) -> dict[_Subject, Mapping[str, Any]]:
        states, training = self._service.database.read(
            lambda connection: (_states_in(connection), _training(connection))
        )
        for run_id in training:
            curve = self._service.folder.output(run_id) / CURVE_FILE
            if size := _size(curve):
                states["epoch", str(run_id)] = {"run": run_id, "bytes": size}
        serving = self._service.serving
        states["answering", ""] = {"version": serving.loaded(), "problem": serving.problem()}
        return states


def _training(connection: sqlite3.Connection) -> list[int]:
    """Return the trainings that go on."""
    rows = connection.execute(
        "SELECT id FROM runs WHERE state = ? AND step IN (?, ?)",
        (State.RUNNING, Step.TRAIN, Step.REFIT),
    )
    return [row["id"] for row in rows]


def _size(file: Path) -> int:
    """Return the bytes of a curve, 0 before its first epoch."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _states_in(connection: sqlite3.Connection) -> dict[_Subject, Mapping[str, Any]]:
    """Return what is watched in the database, as short as each event says it."""
    nights = connection.execute(
        "SELECT id, state FROM nights ORDER BY id DESC LIMIT ?", (_LATEST_NIGHTS,)
    )
    triggers = connection.execute("SELECT name, last_night, last_reason FROM triggers")
    aliases = connection.execute("SELECT name, version, revision FROM aliases")
    return {
        **{("night", str(row["id"])): dict(row) for row in nights},
        **{("trigger", row["name"]): dict(row) for row in triggers},
        **{("alias", row["name"]): dict(row) for row in aliases},
    }
