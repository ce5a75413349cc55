"""The attempts that go on, from their first process to the record of their end."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

from crossan.cache_schema.errors import CrossanError, ResourceError, UsageError
from crossan.common.files import create_exclusively
from crossan.train.service.database import Database, DatabaseUnusableError, DiskFullError
from crossan.train.service.database.run_files import write_attempt
from crossan.train.service.executors import Attempt, Executor, Outcome
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.queue.attempts import (
    begin_attempt,
    end_attempt,
    list_attempts,
    note_handle,
    requeue,
    take_back,
    under_way,
)
from crossan.train.service.queue.concluding import conclude_in_server, conclude_program
from crossan.train.service.queue.ends import Ends
from crossan.train.service.queue.in_server import ServerThreads
from crossan.train.service.queue.live import LiveAttempt, job_of
from crossan.train.service.queue.reasons import describe_attempt
from crossan.train.service.queue.retrying import may_try_again
from crossan.train.service.queue.rows import RunRow, State, get_run
from crossan.train.service.queue.slots import Slots, Usage
from crossan.train.service.queue.steps import Conclusion, InServer, Program, Steps

__all__ = ["Running"]

_logger = logging.getLogger(__name__)


class Running:
    """Begins attempts, watches them, and records how they ended.

    Only the scheduler's thread calls it.
    """

    def __init__(
        self,
        database: Database,
        folder: ServiceFolder,
        steps: Steps,
        executor: Executor,
        slots: Slots,
        ends: Ends,
        wake: Callable[[], None],
    ) -> None:
        self._database, self._folder, self._steps = database, folder, steps
        self._executor, self._slots, self._ends = executor, slots, ends
        self._threads = ServerThreads(wake)
        self._lives: dict[int, LiveAttempt] = {}
        self._unstarted: list[RunRow] = []
        """Runs whose attempt was recorded and could not be started."""
        create_exclusively(folder.identity_file, secrets.token_hex(8).encode())
        self._identity = folder.identity_file.read_text().strip()

    def __len__(self) -> int:
        """Return how many attempts go on."""
        return len(self._lives)

    def adopt(self) -> None:
        """Watch the attempts that an earlier server began.

        Raises
        ------
        UsageError
            Another executor runs one, so this one cannot tell whether it lives.
        """
        for run, row in self._database.read(under_way):
            if row.executor == self._threads.name:
                self._repeat(run)
                continue
            if row.executor != self._executor.name:
                raise UsageError(
                    f"executor={self._executor.name}: run {run.id} goes on with"
                    f" executor={row.executor}",
                    remedy=f'Keep executor = "{row.executor}" until its runs have ended',
                )
            self._slots.keep(run.id, _part(run), row.devices)
            live = LiveAttempt(run, self._attempt(run), is_in_server=False, handle=row.handle)
            self._lives[run.id] = live

    def begin(self, run: RunRow, plan: Program | InServer, devices: Sequence[int]) -> None:
        """Begin the next attempt at a queued run, which has its slots.

        Raises
        ------
        ResourceError
            The system refuses a file or a process; the run stays in the queue.
        """
        try:
            begun = self._record_begin(run, plan, devices)
        except BaseException:
            self._slots.give_back(run.id)
            raise
        if begun is None:
            self._slots.give_back(run.id)
        elif isinstance(plan, InServer):
            self._begin_in_server(begun, plan)
        else:
            self._begin_program(begun, plan, devices)

    def undo_unstarted(self) -> None:
        """Put runs back into the queue whose attempts could not be started."""
        while self._unstarted:
            run = self._unstarted[-1]

            def undo(connection: sqlite3.Connection, run: RunRow = run) -> None:
                current = get_run(connection, run.id)
                if current.state is State.STOPPING:
                    cancelled = Conclusion(State.CANCELLED, current.reason)
                    self._ends.end(connection, run, cancelled, None)
                else:
                    take_back(connection, run)

            self._database.write(undo)
            self._unstarted.pop()

    def stop_cancelled(self) -> None:
        """Tell attempts to end whose run was cancelled."""
        stopping = self._database.read(
            lambda connection: connection.execute(
                "SELECT id FROM runs WHERE state = ?", (State.STOPPING,)
            ).fetchall()
        )
        for row in stopping:
            live = self._lives.get(row["id"])
            if live is None or live.is_in_server or live.is_told_to_stop:
                continue
            try:
                self._executor.stop(live.attempt, live.handle)
            except (CrossanError, OSError) as error:
                _logger.warning("run %d could not be told to stop: %s", live.run.id, error)
            else:
                live.is_told_to_stop = True

    def collect(self) -> bool:
        """Record the attempts that ended, and return whether there was one.

        An attempt that cannot be looked at now, as its executor does not answer, is looked at
        again; it holds back no other.

        Raises
        ------
        DiskFullError, DatabaseUnusableError
            An end cannot be recorded yet; it is kept until it can be.
        """
        refusal: ResourceError | None = None
        has_ended = False
        for live in list(self._lives.values()):
            try:
                self._look(live)
                if live.outcome is not None:
                    self._record_end(live, live.outcome)
                    has_ended = True
            except (DiskFullError, DatabaseUnusableError) as error:
                refusal = error
            except Exception as error:  # noqa: BLE001 - the others come all the same
                live.complain(error)
        if refusal is not None:
            raise refusal
        return has_ended

    def close(self) -> None:
        """Finish the steps that threads of the server have in hand; programs go on."""
        self._threads.stop()

    def _record_begin(
        self, run: RunRow, plan: Program | InServer, devices: Sequence[int]
    ) -> RunRow | None:
        name = self._threads.name if isinstance(plan, InServer) else self._executor.name
        now = self._ends.clock()
        # First the file, so that a full disk shows before anything is recorded.
        write_attempt(self._folder.attempt(run.id, run.attempt + 1), name, devices, now)
        return self._database.write(
            lambda connection: begin_attempt(connection, run, name, devices, now)
        )

    def _begin_in_server(self, run: RunRow, plan: InServer) -> None:
        self._lives[run.id] = LiveAttempt(run, self._attempt(run), is_in_server=True)
        self._threads.start(run.id, plan.work)

    def _begin_program(self, run: RunRow, plan: Program, devices: Sequence[int]) -> None:
        live = LiveAttempt(run, self._attempt(run), is_in_server=False)
        try:
            handle = self._executor.start(live.attempt, job_of(run, plan, tuple(devices)))
        except OSError:
            self._slots.give_back(run.id)
            self._unstarted.append(run)
            self.undo_unstarted()
            raise
        except CrossanError as error:
            live.outcome = _failed(error)
            self._lives[run.id] = live
            return
        live.handle = handle
        self._lives[run.id] = live
        self._database.write(lambda connection: note_handle(connection, run, handle))

    def _repeat(self, run: RunRow) -> None:
        """Do a step again that a thread of an earlier server had in hand."""
        live = LiveAttempt(run, self._attempt(run), is_in_server=True)
        self._lives[run.id] = live
        try:
            # Steps are asked before an attempt has its number.
            plan = self._steps.plan(replace(run, attempt=run.attempt - 1))
        except CrossanError as error:
            live.outcome = _failed(error)
            return
        if isinstance(plan, InServer):
            self._threads.start(run.id, plan.work)
        else:
            live.outcome = Outcome(reason="lost")

    def _attempt(self, run: RunRow) -> Attempt:
        marker = f"{self._identity}/{run.id}/{run.attempt}"
        return Attempt(run.id, run.attempt, self._folder.attempt(run.id, run.attempt), marker)

    def _look(self, live: LiveAttempt) -> None:
        if live.outcome is not None:
            return
        if live.is_in_server:
            done = self._threads.look(live.run.id)
            if done is not None:
                live.outcome, live.result = done
        else:
            live.outcome = self._executor.look(live.attempt, live.handle).outcome

    def _record_end(self, live: LiveAttempt, outcome: Outcome) -> None:
        run, now = live.run, self._ends.clock()
        earlier = self._database.read(lambda connection: list_attempts(connection, run.id))[:-1]
        begun = [one for one in earlier if one.outcome is None or one.outcome.has_begun]
        may_repeat = may_try_again(run.attempt, len(begun) + outcome.has_begun)
        if live.is_in_server:
            conclusion = conclude_in_server(run, outcome, live.result, may_repeat=may_repeat)
        else:
            conclusion = conclude_program(self._steps, run, outcome, may_repeat=may_repeat)
        reason = describe_attempt(outcome, run)

        def record(connection: sqlite3.Connection) -> None:
            end_attempt(connection, run, outcome, now)
            if conclusion is None and requeue(connection, run, reason):
                return
            final = conclusion or Conclusion(State.FAILED, reason)
            current = get_run(connection, run.id)
            # What a thread of the server has done stays done, whatever a client wished meanwhile.
            is_done = live.is_in_server and final.state is State.SUCCEEDED
            if current.state is State.STOPPING and not is_done:
                final = Conclusion(State.CANCELLED, current.reason)
            self._ends.end(connection, run, final, outcome.exit_code)

        self._database.write(record)
        self._slots.give_back(run.id)
        self._lives.pop(run.id)
        if live.is_in_server:
            self._threads.forget(run.id)


def _failed(error: CrossanError) -> Outcome:
    return Outcome(reason="exited", exit_code=error.exit_code, message=str(error))


def _part(run: RunRow) -> Usage:
    return Usage(run.limits.cpus, run.limits.memory_gib, run.limits.gpus)
