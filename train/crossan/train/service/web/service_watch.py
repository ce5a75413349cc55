"""What changed since the last look, in the whole service."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from crossan.train.service.server import Service
from crossan.train.service.web.following import Event, QueueWatch

__all__ = ["ServiceWatch"]

_LATEST_NIGHTS = 20
"""Nights that are looked at. Of one dataset a single one is under way."""
_Subject = tuple[str, str]
"""Name of an event, and what it is about."""


class ServiceWatch:
    """Looks at runs, nights, triggers and aliases, and at the model that answers.

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
        states = self._service.database.read(_states_in)
        serving = self._service.serving
        states["answering", ""] = {"version": serving.loaded(), "problem": serving.problem()}
        return states


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
