"""How a run ends: once, with all who listen told and what waits for it settled."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from crossan.train.service.queue.rows import RunRow, State, get_run
from crossan.train.service.queue.steps import Conclusion, Listener

__all__ = ["cancel", "end_run", "end_unstarted", "is_settling_due", "settle_waiting"]


def end_run(
    connection: sqlite3.Connection,
    run: RunRow,
    conclusion: Conclusion,
    exit_code: int | None,
    now: float,
    listeners: Sequence[Listener],
) -> bool:
    """End a run whose latest attempt ended, and return whether this call did.

    An attempt that is not the latest ends nothing: the number of the attempt is the fence by which
    a run is published once. Listeners are told, and what waits for the run is settled, in the same
    transaction.
    """
    result = None if conclusion.result is None else json.dumps(dict(conclusion.result))
    cursor = connection.execute(
        "UPDATE runs SET state = ?, reason = ?, exit_code = ?, result = ?, ended = ?"
        " WHERE id = ? AND attempt = ? AND state IN (?, ?)",
        (
            conclusion.state,
            conclusion.reason,
            exit_code,
            result,
            now,
            run.id,
            run.attempt,
            State.RUNNING,
            State.STOPPING,
        ),
    )
    if cursor.rowcount != 1:
        return False
    _publish(connection, run.id, now, listeners)
    return True


def end_unstarted(
    connection: sqlite3.Connection,
    run_id: int,
    conclusion: Conclusion,
    now: float,
    listeners: Sequence[Listener],
) -> bool:
    """End a run that waits or is queued, and return whether this call did."""
    cursor = connection.execute(
        "UPDATE runs SET state = ?, reason = ?, ended = ? WHERE id = ? AND state IN (?, ?)",
        (conclusion.state, conclusion.reason, now, run_id, State.WAITING, State.QUEUED),
    )
    if cursor.rowcount != 1:
        return False
    _publish(connection, run_id, now, listeners)
    return True


_SETTLING_DUE = """
SELECT DISTINCT waiting.needs FROM runs AS waiting JOIN runs AS needed ON waiting.needs = needed.id
WHERE waiting.state = 'waiting' AND needed.ended IS NOT NULL
"""


def is_settling_due(connection: sqlite3.Connection) -> bool:
    """Return whether a run waits for one that ended, as one submitted after that end does."""
    return connection.execute(_SETTLING_DUE).fetchone() is not None


def settle_waiting(
    connection: sqlite3.Connection, now: float, listeners: Sequence[Listener]
) -> None:
    """Queue or skip each waiting run whose needed run has ended."""
    for row in connection.execute(_SETTLING_DUE).fetchall():
        _settle(connection, get_run(connection, row["needs"]), now, listeners)


def _publish(
    connection: sqlite3.Connection, run_id: int, now: float, listeners: Sequence[Listener]
) -> None:
    """Tell all who listen of a run that ended, and settle what waits for it."""
    run = get_run(connection, run_id)
    for listener in listeners:
        listener(connection, run)
    _settle(connection, run, now, listeners)


def _settle(
    connection: sqlite3.Connection, run: RunRow, now: float, listeners: Sequence[Listener]
) -> None:
    """Queue what waits for a run that ended, or skip it where the run did not come to its end."""
    waiting = connection.execute(
        "SELECT id FROM runs WHERE needs = ? AND state = ?", (run.id, State.WAITING)
    ).fetchall()
    if not waiting:
        return
    culprit = _culprit(connection, run)
    for row in waiting:
        if culprit is None:
            connection.execute(
                "UPDATE runs SET state = ? WHERE id = ? AND state = ?",
                (State.QUEUED, row["id"], State.WAITING),
            )
        else:
            what = "failed" if culprit.state is State.FAILED else "was cancelled"
            reason = f"needs run {culprit.id}, which {what}"
            end_unstarted(connection, row["id"], Conclusion(State.SKIPPED, reason), now, listeners)


def _culprit(connection: sqlite3.Connection, run: RunRow) -> RunRow | None:
    """Return the run that failed or was cancelled, up the chain of what a run needs."""
    while run.state is State.SKIPPED and run.needs is not None:
        run = get_run(connection, run.needs)
    return run if run.state in {State.FAILED, State.CANCELLED} else None


def cancel(
    connection: sqlite3.Connection,
    run_id: int,
    reason: str,
    now: float,
    listeners: Sequence[Listener],
) -> RunRow:
    """Cancel a run: at once where it has not started, else as soon as its processes have ended."""
    if not end_unstarted(connection, run_id, Conclusion(State.CANCELLED, reason), now, listeners):
        connection.execute(
            "UPDATE runs SET state = ?, reason = ? WHERE id = ? AND state = ?",
            (State.STOPPING, reason, run_id, State.RUNNING),
        )
    return get_run(connection, run_id)
