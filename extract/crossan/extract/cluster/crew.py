"""The workers of one job: hired, given tasks as they come free, replaced when lost, told to stop."""

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
from crossan.extract.cluster.tasks import Task
from crossan.extract.cluster.worker import Board, Order, Outcome, Worker
from crossan.extract.job.result import JobResult

__all__ = ["HiredCrew"]

_TRIES = 4
"""A task, or a worker's beginning, is given up after so many workers were lost over it."""
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_STOP = 60.0
_SECONDS_BETWEEN_REMINDERS = 60.0


@dataclass(frozen=True, slots=True)
class _Call:
    """A worker busy with a task, or with beginning where that is None."""

    worker: Any
    task: Task | None


class HiredCrew:
    """Workers on a connected cluster.

    Parameters
    ----------
    ray
        The module, connected.
    crew
        How many workers, each with how many cores and accelerators.
    order
        What each is told when it begins.
    """

    def __init__(self, ray: Any, crew: Crew, order: Order) -> None:  # noqa: ANN401 - a module
        self._ray, self._crew, self._order = ray, crew, order
        self._lost_errors = lost_errors(ray)
        self._make_worker = ray.remote(num_cpus=crew.cpus, num_gpus=crew.gpus)(Worker)
        self._board = ray.remote(num_cpus=0, max_restarts=-1)(Board).remote()
        self._calls: dict[Any, _Call] = {}
        self._idle: list[Any] = []
        self._waiting: deque[Task] = deque()
        self._losses: Counter[Task | None] = Counter()
        self._results: dict[Task, JobResult] = {}
        self._shown_count = 0
        self._reminded_at = time.monotonic()

    def do(self, tasks: Sequence[Task]) -> list[JobResult]:
        """Have all tasks done and return their results in order; no worker is left.

        Where the store is to be mended first, the first task does that alone.

        Raises
        ------
        CrossanError
            As a worker raised it.
        ResourceError
            A task was given up.
        """
        parts = [tasks[:1], tasks[1:]] if self._order.request.is_repair else [tasks]
        try:
            with progress(
                f"extract {self._order.modality.value}",
                sum(task.item_count for task in tasks),
                "items",
            ) as shown:
                for part in parts:
                    self._do_part(part, shown)
        except (KeyboardInterrupt, SystemExit, CrossanError):
            self._stop()
            raise
        finally:
            self._dismiss()
        return [self._results[task] for task in tasks]

    def _do_part(self, tasks: Sequence[Task], shown: Progress) -> None:
        self._waiting.extend(tasks)
        while self._waiting or any(call.task for call in self._calls.values()):
            self._hire()
            while self._idle and self._waiting:
                self._give(self._idle.pop(), self._waiting.popleft())
            ready, _ = self._ray.wait(
                list(self._calls), num_returns=1, timeout=_SECONDS_BETWEEN_LOOKS
            )
            for reference in ready:
                self._settle(reference, self._calls.pop(reference))
            self._show(shown)

    def _hire(self) -> None:
        """Begin as many workers as there are tasks for, up to the crew's size."""
        busy = sum(call.task is not None for call in self._calls.values())
        wanted = min(self._crew.worker_count, busy + len(self._waiting))
        for _ in range(wanted - len(self._calls) - len(self._idle)):
            worker = self._make_worker.remote(self._order, self._board)
            self._calls[worker.begin.remote()] = _Call(worker, None)

    def _give(self, worker: Any, task: Task) -> None:  # noqa: ANN401 - an actor's handle
        is_repair = self._order.request.is_repair and not self._results
        self._calls[worker.extract.remote(task, is_repair)] = _Call(worker, task)

    def _settle(self, reference: Any, call: _Call) -> None:  # noqa: ANN401 - an object reference
        try:
            outcome: Outcome = self._ray.get(reference)
        except self._lost_errors as error:
            self._replace(call, error)
            return
        if outcome.failure is not None:
            raise outcome.failure.error()
        if call.task is not None:
            assert outcome.result is not None, "a worker stops only when it is told to"
            self._results[call.task] = outcome.result
        self._idle.append(call.worker)

    def _replace(self, call: _Call, error: Exception) -> None:
        """Have the task of a lost worker done again by another; what it published is there, its last batches are not."""
        self._ray.kill(call.worker)
        self._losses[call.task] += 1
        what = "its beginning" if call.task is None else f"task {call.task.shard}"
        if self._losses[call.task] == _TRIES:
            raise ResourceError(
                f"extract {self._order.modality.value}: {_TRIES} workers were lost over {what}; the last one: {first_line(error)}",
                remedy="Look at the nodes' memory and logs (ray logs), then run the same command: it goes on from here.",
            ) from None
        note(f"a worker was lost over {what}, another one does it: {first_line(error)}")
        if call.task is not None:
            self._waiting.appendleft(call.task)

    def _show(self, shown: Progress) -> None:
        """Add to the progress what the workers wrote on the board; a lost worker's count is taken back."""
        busy = {
            call.task.shard.number: call.task
            for call in self._calls.values()
            if call.task is not None
        }
        try:
            counts = (
                self._ray.get(self._board.counts.remote(), timeout=_SECONDS_BETWEEN_LOOKS)
                if busy
                else {}
            )
        except (self._ray.exceptions.GetTimeoutError, *self._lost_errors):
            return
        done = sum(task.item_count for task in self._results)
        done += sum(min(counts.get(number, 0), task.item_count) for number, task in busy.items())
        shown.advance(
            done - self._shown_count, f"{len(busy)} of {self._crew.worker_count} workers busy"
        )
        self._shown_count = done
        if (
            not busy
            and not self._idle
            and time.monotonic() - self._reminded_at > _SECONDS_BETWEEN_REMINDERS
        ):
            self._reminded_at = time.monotonic()
            note(
                "waiting for the first worker: no room on the cluster yet, or the backbone is being loaded"
            )

    def _stop(self) -> None:
        """Let the workers finish and keep their batch in hand; after a minute, or a second Ctrl-C, they are ended without."""
        busy = [reference for reference, call in self._calls.items() if call.task is not None]
        if not busy:
            return
        note(
            f"extract {self._order.modality.value}: {len(busy)} workers stop after their batch in hand"
        )
        told = self._board.stop.remote()
        self._ray.wait([told, *busy], num_returns=1 + len(busy), timeout=_SECONDS_TO_STOP)

    def _dismiss(self) -> None:
        for worker in [*self._idle, *(call.worker for call in self._calls.values()), self._board]:
            self._ray.kill(worker)
        self._idle.clear()
        self._calls.clear()
