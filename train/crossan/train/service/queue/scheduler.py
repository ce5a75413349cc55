"""The thread that begins, watches and ends the runs of the queue."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crossan.cache_schema.errors import CrossanError
from crossan.train.service.database import Database
from crossan.train.service.executors import Executor
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.queue.choosing import (
    Activity,
    Candidate,
    Patience,
    activity_of,
    newcomers,
)
from crossan.train.service.queue.ends import Ends, is_settling_due
from crossan.train.service.queue.recording import Recorder
from crossan.train.service.queue.rows import RunRow, State, get_run
from crossan.train.service.queue.running import Running
from crossan.train.service.queue.slots import Slots, Usage
from crossan.train.service.queue.steps import Conclusion, InServer, Listener, Program, Skip, Steps

__all__ = ["Counts", "Scheduler"]

_logger = logging.getLogger(__name__)

_BUSY_SECONDS = 0.2
"""Between two looks at what runs."""
_IDLE_SECONDS = 1.0
"""Between two looks at the queue, should nobody have woken the scheduler."""
_REFUSED_SECONDS = 1.0
"""Before the next try where the system refuses, as on a full disk."""
_SHORTEST_SECONDS = 0.1
"""Between two looks however often it is woken."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many runs there are, and what they share."""

    runs: dict[State, int]
    used: Usage
    total: Usage


@dataclass(slots=True)
class _Look:
    """What the last look at the whole queue left, which newcomers are added to.

    Until a run ends or is cancelled no slot and no dataset becomes free, so whatever could not begin
    cannot begin yet. A thousand submissions cost a thousand looks at one run, not at a thousand.
    """

    activity: Activity
    newest: int
    """The highest number of a run that was looked at."""
    may_pass: bool = True
    """Whether runs may pass those that came before them."""


class Scheduler:
    """Runs what is queued: as many runs at once as the slots hold, each to one end.

    Parameters
    ----------
    database, folder
        Where runs are recorded, and where their files go.
    steps
        What each run does.
    executor
        Where programs run.
    slots
        What running runs share.
    listeners
        Told of each run that ended, in the transaction that records it.
    clock
        Returns the time that is recorded, in seconds since 1970. Nothing waits by it, so it may be
        set back and forth.
    """

    def __init__(
        self,
        database: Database,
        folder: ServiceFolder,
        steps: Steps,
        executor: Executor,
        slots: Slots,
        *,
        listeners: Sequence[Listener] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._steps, self._slots = database, steps, slots
        self._recorder = Recorder(database, folder)
        self._ends = Ends((*listeners, self._recorder.listener), clock)
        self._running = Running(database, folder, steps, executor, slots, self._ends, self.wake)
        self._patience = Patience()
        self._need_slots: set[int] = set()
        """Queued runs that are known to be no steps of the server itself."""
        self._is_awake = threading.Event()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._complaint = ""
        self._queue_seen_at = float("-inf")
        self._last_look: _Look | None = None
        """None where the next look must be at the whole queue."""
        self._is_freed = threading.Event()
        """Set where something that others wait for may be free."""

    def start(self) -> None:
        """Take up what an earlier server left, and begin to run the queue.

        Raises
        ------
        UsageError
            A run goes on with another executor.
        """
        self.recover()
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Programs go on, and the next server adopts them."""
        self._is_stopping.set()
        self._is_awake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._running.close()

    def wake(self) -> None:
        """Have the runs looked at now that were submitted since the last look."""
        self._is_awake.set()

    def recover(self) -> None:
        """Adopt the attempts that an earlier server began; those that died are found by a look."""
        self._recorder.begin()
        self._running.adopt()

    def cancel(self, run_id: int, actor: str) -> RunRow:
        """Cancel a run and return it as it is now.

        One that has not started is cancelled at once. The processes of another end within 15
        seconds, and it is STOPPING until then. One that has ended stays as it is.

        Raises
        ------
        UsageError
            There is no such run.
        """
        reason = f"cancelled by {actor}"
        run = self._database.write(lambda connection: self._ends.cancel(connection, run_id, reason))
        self._is_freed.set()
        self.wake()
        return run

    def counts(self) -> Counts:
        """Return how many runs are in each state, and how much of the slots is used."""
        rows = self._database.read(
            lambda connection: connection.execute(
                "SELECT state, COUNT(*) AS count FROM runs GROUP BY state"
            ).fetchall()
        )
        counted = {State(row["state"]): row["count"] for row in rows}
        runs = {state: counted.get(state, 0) for state in State}
        return Counts(runs=runs, used=self._slots.used, total=self._slots.total)

    def _run(self) -> None:
        pause = 0.0
        while not self._is_stopping.is_set():
            is_woken = self._is_awake.wait(pause)
            self._is_awake.clear()
            try:
                self._tick(is_woken=is_woken)
                pause = _BUSY_SECONDS if len(self._running) else _IDLE_SECONDS
                self._complaint = ""
            except Exception as error:  # noqa: BLE001 - the queue outlives whatever befalls a run
                self._complain(error)
                pause = _REFUSED_SECONDS
            if is_woken:
                self._is_stopping.wait(_SHORTEST_SECONDS)

    def _complain(self, error: Exception) -> None:
        """Log an error once, however often it comes again."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            is_ours = isinstance(error, CrossanError)
            _logger.error("the queue waits: %s", error, exc_info=None if is_ours else error)

    def _tick(self, *, is_woken: bool) -> None:
        self._running.undo_unstarted()
        if len(self._running):
            self._running.stop_cancelled()
        has_ended = self._running.collect()
        now = time.monotonic()
        is_due = has_ended or now - self._queue_seen_at >= _IDLE_SECONDS
        if is_woken or is_due:
            if is_due or self._is_freed.is_set():
                self._is_freed.clear()
                self._last_look = None
            if self._recorder.write():
                self.wake()
            self._begin_runs(now)

    def _begin_runs(self, now: float) -> None:
        """Begin what may begin, the one that came first first."""
        if self._database.read(is_settling_due):
            self._database.write(self._ends.settle_waiting)
            self._last_look = None
        # Should the system refuse something on the way, the next look is at the whole queue.
        look, self._last_look = self._last_look, None
        is_whole = look is None or (look.may_pass and self._patience.has_ended(now))
        if look is None or is_whole:
            runs, activity = self._database.read(activity_of)
            queued = [run for run in runs if run.state is State.QUEUED]
            self._patience.keep_only(run.id for run in queued)
            self._need_slots &= {run.id for run in queued}
            look = _Look(activity, newest=max((run.id for run in runs), default=0))
        else:
            newest = look.newest
            queued = self._database.read(lambda connection: newcomers(connection, newest))
            look.newest = max((run.id for run in queued), default=newest)
        for run in queued:
            self._consider(run, look, now)
        self._last_look = look
        if is_whole:
            self._queue_seen_at = now  # only now, as a refusal has the queue looked at again

    def _consider(self, run: Candidate, look: _Look, now: float) -> None:
        """Begin a queued run, or end it where it can never begin, or let it wait."""
        reason = self._slots.refusal_of(run.part)
        if reason is not None:
            self._end_unstarted(run.id, Conclusion(State.FAILED, reason))
        elif not look.activity.allows(run):
            if run.is_writer and self._patience.note_passed(run.id, now):
                look.activity.hold(run)
        elif self._begin(run, may_take=look.may_pass):
            look.activity.begin(run)
        elif self._patience.note_passed(run.id, now):
            look.may_pass = False

    def _begin(self, candidate: Candidate, *, may_take: bool) -> bool:
        """Begin a queued run, and return whether it waits for its slots no more."""
        devices = self._slots.take(candidate.id, candidate.part) if may_take else None
        if devices is None and candidate.id in self._need_slots:
            return False
        run = self._database.read(lambda connection: get_run(connection, candidate.id))
        plan = self._plan(run)
        if devices is None and not isinstance(plan, InServer):
            # Whatever the plan says, it is made anew once the run has its part.
            self._need_slots.add(run.id)
            return False
        if isinstance(plan, Program):
            self._running.begin(run, plan, devices or ())
            return True
        self._slots.give_back(run.id)
        if isinstance(plan, InServer):
            self._running.begin(run, plan, ())
        else:
            self._end_unstarted(run.id, plan)
        return True

    def _plan(self, run: RunRow) -> Program | InServer | Conclusion:
        """Return what a run does, or how it ends without a beginning."""
        try:
            plan = self._steps.plan(run)
        except CrossanError as error:
            return Conclusion(State.FAILED, str(error))
        except Exception as error:  # a bug in one plan must not stop the queue
            _logger.exception("run %d could not be planned", run.id)
            return Conclusion(State.FAILED, f"internal error: {type(error).__name__}: {error}")
        return Conclusion(State.SKIPPED, plan.reason) if isinstance(plan, Skip) else plan

    def _end_unstarted(self, run_id: int, conclusion: Conclusion) -> None:
        self._database.write(
            lambda connection: self._ends.end_unstarted(connection, run_id, conclusion)
        )
        self._is_freed.set()
        self.wake()  # for what waited for it
