"""The attempts at runs, as rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from crossan.train.service.executors import Outcome
from crossan.train.service.queue.rows import RunRow, State, get_run

__all__ = [
    "AttemptRow",
    "begin_attempt",
    "end_attempt",
    "list_attempts",
    "note_handle",
    "requeue",
    "take_back",
    "under_way",
]


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt at a run."""

    run_id: int
    number: int
    executor: str
    """Name of the executor that runs it."""
    handle: str | None
    """What the executor finds it by; None before it is known, or for a step done by the server."""
    devices: tuple[int, ...]
    started: float
    ended: float | None
    outcome: Outcome | None


def begin_attempt(
    connection: sqlite3.Connection,
    run: RunRow,
    executor: str,
    devices: Sequence[int],
    now: float,
) -> RunRow | None:
    """Record the next attempt at a queued run and return the run as it is now.

    None where the run is queued no more, as a client has cancelled it.
    """
    cursor = connection.execute(
        "UPDATE runs SET state = ?, attempt = attempt + 1, started = COALESCE(started, ?)"
        " WHERE id = ? AND attempt = ? AND state = ?",
        (State.RUNNING, now, run.id, run.attempt, State.QUEUED),
    )
    if cursor.rowcount != 1:
        return None
    connection.execute(
        "INSERT INTO attempts (run_id, number, executor, devices, started) VALUES (?, ?, ?, ?, ?)",
        (run.id, run.attempt + 1, executor, json.dumps(list(devices)), now),
    )
    return get_run(connection, run.id)


def take_back(connection: sqlite3.Connection, run: RunRow) -> None:
    """Undo `begin_attempt`, where nothing of the attempt could be started."""
    connection.execute(
        "DELETE FROM attempts WHERE run_id = ? AND number = ?", (run.id, run.attempt)
    )
    connection.execute(
        "UPDATE runs SET attempt = attempt - 1, started = CASE WHEN attempt > 1 THEN started END,"
        " state = CASE state WHEN ? THEN ? ELSE state END WHERE id = ? AND attempt = ?",
        (State.RUNNING, State.QUEUED, run.id, run.attempt),
    )


def note_handle(connection: sqlite3.Connection, run: RunRow, handle: str) -> None:
    """Record what the executor finds the latest attempt at a run by."""
    connection.execute(
        "UPDATE attempts SET handle = ? WHERE run_id = ? AND number = ?",
        (handle, run.id, run.attempt),
    )


def end_attempt(connection: sqlite3.Connection, run: RunRow, outcome: Outcome, now: float) -> None:
    """Record how the latest attempt at a run ended, the first time that it is told."""
    connection.execute(
        "UPDATE attempts SET ended = ?, outcome = ?"
        " WHERE run_id = ? AND number = ? AND ended IS NULL",
        (now, json.dumps(asdict(outcome)), run.id, run.attempt),
    )


def requeue(connection: sqlite3.Connection, run: RunRow, reason: str) -> bool:
    """Put a run back into the queue for its next attempt, and return whether it was.

    It is not where its latest attempt is another one by now, or where a client has cancelled it.
    """
    cursor = connection.execute(
        "UPDATE runs SET state = ?, reason = ? WHERE id = ? AND attempt = ? AND state = ?",
        (State.QUEUED, reason, run.id, run.attempt, State.RUNNING),
    )
    return cursor.rowcount == 1


def list_attempts(connection: sqlite3.Connection, run_id: int) -> list[AttemptRow]:
    """Return the attempts at a run, the first one first."""
    rows = connection.execute("SELECT * FROM attempts WHERE run_id = ? ORDER BY number", (run_id,))
    return [_attempt(row) for row in rows]


def under_way(connection: sqlite3.Connection) -> list[tuple[RunRow, AttemptRow]]:
    """Return the runs that have started and not ended, each with its latest attempt."""
    rows = connection.execute(
        "SELECT attempts.* FROM attempts JOIN runs"
        " ON runs.id = attempts.run_id AND runs.attempt = attempts.number"
        " WHERE runs.state IN (?, ?) ORDER BY runs.id",
        (State.RUNNING, State.STOPPING),
    ).fetchall()
    return [(get_run(connection, row["run_id"]), _attempt(row)) for row in rows]


def _attempt(row: sqlite3.Row) -> AttemptRow:
    outcome = row["outcome"]
    return AttemptRow(
        run_id=row["run_id"],
        number=row["number"],
        executor=row["executor"],
        handle=row["handle"],
        devices=tuple(json.loads(row["devices"])),
        started=row["started"],
        ended=row["ended"],
        outcome=None if outcome is None else Outcome(**json.loads(outcome)),
    )
