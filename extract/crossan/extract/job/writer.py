"""The thread that journals forwarded batches while the next one is computed."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Writer"]

Batch = TypeVar("Batch")

_BATCHES_WAITING = 1
"""Batches that may wait beside the one being written.

With the one being forwarded a kill costs three batches at most.
"""


class Writer(Generic[Batch]):
    """Call ``write`` for one batch after the other, in order, in a thread of its own.

    An error of ``write`` is raised by the next `put`, or by `close`. Nothing is
    written after it.
    """

    def __init__(self, write: Callable[[Batch], None]) -> None:
        self._write = write
        self._waiting: queue.Queue[Batch | None] = queue.Queue(_BATCHES_WAITING)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="crossan-writer")
        self._ended: Future[None] = self._threads.submit(self._run)

    def put(self, batch: Batch) -> None:
        """Hand over a batch, and wait while another one waits already."""
        # With a time limit: a thread that has died of an error would never make room.
        while True:
            if self._ended.done():
                self._ended.result()
            try:
                self._waiting.put(batch, timeout=1.0)
            except queue.Full:
                continue
            return

    def close(self) -> None:
        """Wait until everything handed over is written."""
        while not self._ended.done():
            try:
                self._waiting.put(None, timeout=1.0)
            except queue.Full:
                continue
            break
        self._threads.shutdown()
        self._ended.result()

    def _run(self) -> None:
        # None is the end, put there by close().
        while (batch := self._waiting.get()) is not None:
            self._write(batch)
