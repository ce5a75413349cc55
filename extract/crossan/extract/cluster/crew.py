"""Hire the workers of one job, give them tasks, and replace those that are lost."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossan.cache_schema.errors import CrossanError, ResourceError
from crossan.common.cluster import Crew
from crossan.common.cluster.connection import first_line, lost_errors
from crossan.common.console import Progress, note, progress
from crossan.extract.cluster.tasks import ClusterTask
from crossan.extract.cluster.worker import Board, CallOutcome, Worker, WorkerSetup
from crossan.extract.job.result import JobResult

__all__ = ["HiredCrew"]

_TRIES = 4
"""How many workers may be lost over a task, or over their beginning, before it is given up."""
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_STOP = 60.0
_SECONDS_BETWEEN_REMINDERS = 60.0


@dataclass(frozen=True, slots=True)
class _Call:
    """What a worker is busy with."""

    worker: Any
    task: ClusterTask | None
    """None where it is beginning."""


class HiredCrew:
    """Workers on a connected cluster.

    Parameters
    ----------
    ray
        The module, connected.
    crew
        How many workers, each with how many cores and accelerators.
    setup
        What each needs to begin.
    """

    def __init__(self, ray: Any, crew: Crew, setup: WorkerSetup) -> None:  # noqa: ANN401 - a module
        self._ray, self._crew, self._setup = ray, crew, setup
        self._lost_errors = lost_errors(ray)
        self._make_worker = ray.remote(num_cpus=crew.cpus, num_gpus=crew.gpus)(Worker)
        # Restarted as often as it takes: a job must not end because its board, which is mostly for
        # the progress, was lost.
        self._board = ray.remote(num_cpus=0, max_restarts=-1)(Board).remote()
        self._calls: dict[Any, _Call] = {}
        self._idle: list[Any] = []
        self._waiting: deque[ClusterTask] = deque()
        self._losses: Counter[ClusterTask | None] = Counter()
        self._results: dict[ClusterTask, JobResult] = {}
        self._shown_count = 0
        self._reminded_at = time.monotonic()

    def do(self, tasks: Sequence[ClusterTask]) -> list[JobResult]:
        """Have all tasks done, dismiss the workers and return the results in order.

        Raises
        ------
        CrossanError
            As a worker raised it.
        ResourceError
            A task was given up.
        """
        # With --repair the first task mends the store, while no other reads it.
        parts = [tasks[:1], tasks[1:]] if self._setup.request.is_repair else [tasks]
        try:
            item_count = sum(task.item_count for task in tasks)
            label = f"extract {self._setup.modality.value}"
            with progress(label, item_count, "items") as shown:
                for part in parts:
                    self._do_part(part, shown)
        except (KeyboardInterrupt, SystemExit, CrossanError):
            self._stop()
            raise
        finally:
            self._dismiss()
        return [self._results[task] for task in tasks]

    def _do_part(self, tasks: Sequence[ClusterTask], shown: Progress) -> None:
        self._waiting.extend(tasks)
        while self._waiting or any(call.task for call in self._calls.values()):
            self._hire()
            while self._idle and self._waiting:
                self._give(self._idle.pop(), self._waiting.popleft())
            # With a time limit, so that progress is shown while no call ends.
            ready, _ = self._ray.wait(
                list(self._calls), num_returns=1, timeout=_SECONDS_BETWEEN_LOOKS
            )
            for reference in ready:
                self._settle(reference, self._calls.pop(reference))
            self._show(shown)

    def _hire(self) -> None:
        """Begin as many workers as there are tasks for, up to the crew's size."""
        busy = sum(call.task is not None for call in self._calls.values())
        needed = min(self._crew.worker_count, busy + len(self._waiting))
        for _ in range(needed - len(self._calls) - len(self._idle)):
            worker = self._make_worker.remote(self._setup, self._board)
            self._calls[worker.begin.remote()] = _Call(worker, None)

    def _give(self, worker: Any, task: ClusterTask) -> None:  # noqa: ANN401 - an actor's handle
        is_repair = self._setup.request.is_repair and not self._results
        self._calls[worker.extract.remote(task, is_repair)] = _Call(worker, task)

    def _settle(self, reference: Any, call: _Call) -> None:  # noqa: ANN401 - an object reference
        try:
            outcome: CallOutcome = self._ray.get(reference)
        except self._lost_errors as error:
            self._replace(call, error)
            return
        if outcome.failure is not None:
            raise outcome.failure.error()
        # A call without a task was the worker's beginning, which has no result.
        if call.task is not None:
            assert outcome.result is not None, "a worker stops only when it is told to"
            self._results[call.task] = outcome.result
        self._idle.append(call.worker)

    def _replace(self, call: _Call, error: Exception) -> None:
        """Have the task of a lost worker done again by another.

        What the lost one published is kept, but its last batches are computed again.
        """
        # A worker may count as lost while its process lives on: it must not do the task as well.
        self._ray.kill(call.worker)
        self._losses[call.task] += 1
        what = "its beginning" if call.task is None else f"task {call.task.shard}"
        if self._losses[call.task] == _TRIES:
            raise ResourceError(
                f"extract {self._setup.modality.value}: {_TRIES} workers were lost over {what}; "
                f"the last one: {first_line(error)}",
                remedy="Look at the nodes' memory and logs (ray logs), then run the same command: "
                "it continues from here",
            ) from None
        note(f"a worker was lost over {what}, another one does it: {first_line(error)}")
        if call.task is not None:
            self._waiting.appendleft(call.task)

    def _show(self, shown: Progress) -> None:
        """Add to the progress what the workers wrote on the board."""
        tasks = (call.task for call in self._calls.values())
        busy = {task.shard.number: task for task in tasks if task is not None}
        counts: dict[int, int] = {}
        if busy:
            try:
                counts = self._ray.get(self._board.counts.remote(), timeout=_SECONDS_BETWEEN_LOOKS)
            except (self._ray.exceptions.GetTimeoutError, *self._lost_errors):
                return
        done = sum(task.item_count for task in self._results)
        done += sum(min(counts.get(number, 0), task.item_count) for number, task in busy.items())
        # Less than nothing where a worker was lost, whose count is taken back.
        shown.advance(
            done - self._shown_count, f"{len(busy)} of {self._crew.worker_count} workers busy"
        )
        self._shown_count = done
        if not busy and not self._idle:
            self._remind()

    def _remind(self) -> None:
        """Say now and then why nothing is done yet."""
        if time.monotonic() - self._reminded_at > _SECONDS_BETWEEN_REMINDERS:
            self._reminded_at = time.monotonic()
            note(
                "waiting for the first worker: "
                "the cluster has no room yet, or the backbone is being loaded"
            )

    def _stop(self) -> None:
        """Let the workers finish and keep their batch in hand.

        After a minute, or a second Ctrl-C, they are ended without.
        """
        busy = [reference for reference, call in self._calls.items() if call.task is not None]
        if not busy:
            return
        note(
            f"extract {self._setup.modality.value}: "
            f"{len(busy)} workers stop after their batch in hand"
        )
        stopping = self._board.stop.remote()
        self._ray.wait([stopping, *busy], num_returns=1 + len(busy), timeout=_SECONDS_TO_STOP)

    def _dismiss(self) -> None:
        for worker in [*self._idle, *(call.worker for call in self._calls.values()), self._board]:
            self._ray.kill(worker)
        self._idle.clear()
        self._calls.clear()
