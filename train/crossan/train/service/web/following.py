"""What changed since the last look, of one run or of the queue."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from crossan.train.service.queue.rows import ENDED, RunRow, State, get_run
from crossan.train.service.server import Service
from crossan.train.service.web.slices import CURVE_FILE, LOG_FILE, lines_of, text_of
from crossan.train.service.web.views import RunView

__all__ = ["Event", "QueueWatch", "RunWatch"]

_SLICE = 32 * 1024
_POSITION = re.compile(r"(\d{1,6})-(\d{1,18})-(\d{1,18})")
_ACTIVE = tuple(state for state in State if state not in ENDED)


class Event(NamedTuple):
    """One event of a stream."""

    name: str
    content: Any
    id: str | None = None
    """What a client that lost the stream sends to go on behind this event."""


class RunWatch:
    """Looks at one run, its log and its curve.

    Parameters
    ----------
    service
        Where it runs.
    run_id
        The run.
    last_id
        ``id`` of the last event that the client has, None for all from the beginning.

    Raises
    ------
    UsageError
        There is no such run.
    """

    LAST_ID: ClassVar[str] = "end"

    def __init__(self, service: Service, run_id: int, last_id: str | None = None) -> None:
        self._service = service
        self._run_id = run_id
        self._seen: RunRow | None = None
        position = _POSITION.fullmatch(last_id or "")
        self._attempt, self._log, self._curve = (
            (0, 0, 0) if position is None else (int(part) for part in position.groups())
        )
        self._row()

    def look(self) -> list[Event]:
        """Return what is new, in the order in which a reader wants it."""
        row = self._row()
        events = self._new_state(row)
        lines = [*self._new_log(row), *self._new_curve()]
        events += lines
        if not lines and row.state in ENDED:
            events.append(Event("end", {"state": row.state}, self.LAST_ID))
        return events

    def _row(self) -> RunRow:
        return self._service.database.read(lambda connection: get_run(connection, self._run_id))

    def _new_state(self, row: RunRow) -> list[Event]:
        if row == self._seen:
            return []
        self._seen = row
        return [Event("state", RunView.of(row).model_dump(mode="json"), self._id())]

    def _new_log(self, row: RunRow) -> list[Event]:
        if row.attempt == 0:
            return []
        if self._attempt == 0:
            self._attempt = row.attempt
        log = text_of(self._log_file(self._attempt), self._log, _SLICE)
        if not log.text and self._attempt < row.attempt:
            self._attempt, self._log = self._attempt + 1, 0
            log = text_of(self._log_file(self._attempt), 0, _SLICE)
        self._log = log.next_offset
        if not log.text:
            return []
        content = {"attempt": self._attempt, "text": log.text, "next_offset": log.next_offset}
        return [Event("log", content, self._id())]

    def _new_curve(self) -> list[Event]:
        file = self._service.folder.output(self._run_id) / CURVE_FILE
        curve = lines_of(file, self._curve, _SLICE)
        self._curve = curve.next_offset
        return [Event("curve", line, self._id()) for line in curve.lines]

    def _log_file(self, attempt: int) -> Path:
        return self._service.folder.attempt(self._run_id, attempt) / LOG_FILE

    def _id(self) -> str:
        return f"{self._attempt}-{self._log}-{self._curve}"


class QueueWatch:
    """Looks at the runs that have not ended, and at those that just did.

    Parameters
    ----------
    service
        Whose queue.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._newest: int | None = None
        self._active: dict[int, tuple[str, int]] = {}
        service.database.read(self._changed)

    def look(self) -> list[Event]:
        """Return the runs that changed."""
        rows = self._service.database.read(self._changed)
        return [Event("run", RunView.of(row).model_dump(mode="json")) for row in rows]

    def _changed(self, connection: sqlite3.Connection) -> list[RunRow]:
        marks = ", ".join("?" * len(_ACTIVE))
        active = {
            row["id"]: (row["state"], row["attempt"])
            for row in connection.execute(
                f"SELECT id, state, attempt FROM runs WHERE state IN ({marks})",  # noqa: S608 - our own text
                _ACTIVE,
            )
        }
        newest = connection.execute("SELECT coalesce(max(id), 0) FROM runs").fetchone()[0]
        appeared = () if self._newest is None else range(self._newest + 1, newest + 1)
        changed = {
            *appeared,
            *(run_id for run_id in self._active if run_id not in active),
            *(run_id for run_id, seen in active.items() if self._active.get(run_id) != seen),
        }
        self._active, self._newest = active, newest
        return [get_run(connection, run_id) for run_id in sorted(changed)]
