"""Steps that a thread of the server does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from crossan.cache_schema.errors import CrossanError
from crossan.train.service.database import DiskFullError
from crossan.train.service.executors import Outcome

__all__ = ["Done", "ServerThreads"]

_logger = logging.getLogger(__name__)
_THREADS = 2
_PAUSE_SECONDS = 2.0
"""Between two tries while the disk is full."""


class Done(NamedTuple):
    """How a step ended, and what it returned."""

    outcome: Outcome
    result: Mapping[str, Any] | None


class ServerThreads:
    """A few threads that do steps.

    Parameters
    ----------
    wake
        Called when one has ended.
    """

    name = "server"

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="step")
        self._futures: dict[int, Future[Done]] = {}
        self._is_stopping = threading.Event()

    def start(self, run_id: int, work: Callable[[], Mapping[str, Any]]) -> None:
        """Have a run's step done."""
        future = self._pool.submit(self._do, work)
        future.add_done_callback(lambda _: self._wake())
        self._futures[run_id] = future

    def look(self, run_id: int) -> Done | None:
        """Return how a run's step ended, None while it goes on."""
        future = self._futures[run_id]
        return future.result() if future.done() else None

    def forget(self, run_id: int) -> None:
        """Drop what is known of a step that was recorded."""
        del self._futures[run_id]

    def stop(self) -> None:
        """Finish the steps in hand; the others are done after the next start."""
        self._is_stopping.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _do(self, work: Callable[[], Mapping[str, Any]]) -> Done:
        while True:
            try:
                return Done(Outcome(reason="exited", exit_code=0), work())
            except DiskFullError as error:
                # Nothing was written, and the step can be done as soon as there is room.
                if self._is_stopping.wait(_PAUSE_SECONDS):
                    return _failed(error)
            except CrossanError as error:
                return _failed(error)
            except Exception as error:  # a bug in one step must not end the others
                _logger.exception("a step failed by an error that is a bug")
                message = f"internal error: {type(error).__name__}: {error}"
                return Done(Outcome(reason="exited", exit_code=1, message=message), None)


def _failed(error: CrossanError) -> Done:
    return Done(Outcome(reason="exited", exit_code=error.exit_code, message=str(error)), None)
