"""Requests that wait while others are answered are answered together.

The product of many users' vectors with a million items' reads those from memory once, which is what
takes the time. So eight clients at once wait for less than eight times as long as one does.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

from crossan.train.service.recommender.opening import Answering
from crossan.train.service.recommender.ranking import Query

__all__ = ["Batches"]


class _Task(NamedTuple):
    request: dict[str, Any]
    future: Future[dict[str, Any]]


class Batches:
    """Whoever comes first answers for all who wait.

    Parameters
    ----------
    current
        Returns what answers now. All requests that are answered together are answered by one.
    """

    def __init__(self, current: Callable[[], Answering]) -> None:
        self._current = current
        self._tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request.

        Raises
        ------
        CrossanError
            No such user, or no item of the catalogue.
        """
        task = _Task(request, Future())
        self._tasks.put(task)
        # No thread of its own answers: where nobody else asks, nothing is handed over, which on a
        # busy machine takes longer than the answer.
        while not task.future.done():
            with self._lock:
                if not task.future.done():
                    self._answer_some()
        return task.future.result()

    def _answer_some(self) -> None:
        answering = self._current()
        together: list[_Task] = []
        with suppress(queue.Empty):
            while len(together) < answering.scores.at_once:
                together.append(self._tasks.get_nowait())
        _answer_together(answering, together)


def _answer_together(answering: Answering, tasks: list[_Task]) -> None:
    queries: list[tuple[_Task, Query, list[str]]] = []
    for task in tasks:
        try:
            queries.append((task, *answering.query(task.request)))
        except Exception as error:  # noqa: BLE001 - raised where the request came from
            task.future.set_exception(error)
    if not queries:
        return
    try:
        answers = answering.answers([query for _, query, _ in queries])
    except Exception as error:  # noqa: BLE001 - raised where each request came from
        for task, _, _ in queries:
            task.future.set_exception(error)
        return
    for (task, _, unknown), items in zip(queries, answers, strict=True):
        task.future.set_result({"items": items, "unknown": unknown, "state": answering.state})
