"""How a run ends: once, with all who listen told and what waits for it settled."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence

from crossan.train.service.queue.rows import RunRow, State, get_run
from crossan.train.service.queue.steps import Conclusion, Listener

__all__ = ["Ends", "is_settling_due"]

_SETTLING_DUE = """
SELECT DISTINCT waiting.needs FROM runs AS waiting JOIN runs AS needed ON waiting.needs = needed.id
WHERE waiting.state = 'waiting' AND needed.ended IS NOT NULL
"""


def is_settling_due(connection: sqlite3.Connection) -> bool:
    """Return whether a run waits for one that ended, as one submitted after that end does."""
    return connection.execute(_SETTLING_DUE).fetchone() is not None


class Ends:
    """Ends runs, each call within the transaction of its connection.

    Parameters
    ----------
    listeners
        Told of each run that ended.
    clock
        Returns the seconds since 1970 that are recorded.
    """

    def __init__(self, listeners: Sequence[Listener], clock: Callable[[], float]) -> None:
        self._listeners, self.clock = listeners, clock

    def end(
        self,
        connection: sqlite3.Connection,
        run: RunRow,
        conclusion: Conclusion,
        exit_code: int | None,
    ) -> bool:
        """End a run whose latest attempt ended, and return whether this call did.

        An attempt that is not the latest ends nothing: the number of the attempt is the fence by
        which a run is published once.
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
                self.clock(),
                run.id,
                run.attempt,
                State.RUNNING,
                State.STOPPING,
            ),
        )
        return self._publish(connection, run.id, cursor.rowcount)

    def end_unstarted(
        self, connection: sqlite3.Connection, run_id: int, conclusion: Conclusion
    ) -> bool:
        """End a run that waits or is queued, and return whether this call did."""
        cursor = connection.execute(
            "UPDATE runs SET state = ?, reason = ?, ended = ? WHERE id = ? AND state IN (?, ?)",
            (
                conclusion.state,
                conclusion.reason,
                self.clock(),
                run_id,
                State.WAITING,
                State.QUEUED,
            ),
        )
        return self._publish(connection, run_id, cursor.rowcount)

    def cancel(self, connection: sqlite3.Connection, run_id: int, reason: str) -> RunRow:
        """Cancel a run and return it as it is now.

        One that has not started is cancelled at once, another as soon as its processes have ended.
        """
        if not self.end_unstarted(connection, run_id, Conclusion(State.CANCELLED, reason)):
            connection.execute(
                "UPDATE runs SET state = ?, reason = ? WHERE id = ? AND state = ?",
                (State.STOPPING, reason, run_id, State.RUNNING),
            )
        return get_run(connection, run_id)

    def settle_waiting(self, connection: sqlite3.Connection) -> None:
        """Queue or skip each waiting run whose needed run has ended."""
        for row in connection.execute(_SETTLING_DUE).fetchall():
            self._settle(connection, get_run(connection, row["needs"]))

    def _publish(self, connection: sqlite3.Connection, run_id: int, changed: int) -> bool:
        """Tell all who listen of a run that ended, and settle what waits for it."""
        if changed != 1:
            return False
        run = get_run(connection, run_id)
        for listener in self._listeners:
            listener(connection, run)
        self._settle(connection, run)
        return True

    def _settle(self, connection: sqlite3.Connection, run: RunRow) -> None:
        """Queue what waits for a run that ended, or skip it where the run did not succeed."""
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
                skipped = Conclusion(State.SKIPPED, f"needs run {culprit.id}, which {what}")
                self.end_unstarted(connection, row["id"], skipped)


def _culprit(connection: sqlite3.Connection, run: RunRow) -> RunRow | None:
    """Return the run that failed or was cancelled, up the chain of what a run needs."""
    while run.state is State.SKIPPED and run.needs is not None:
        run = get_run(connection, run.needs)
    return run if run.state in {State.FAILED, State.CANCELLED} else None
