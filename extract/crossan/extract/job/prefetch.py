"""Decode ahead of the forward pass in a bounded number of threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prepared_ahead"]

_BATCHES_AHEAD = 2
"""Batches being prepared while one is forwarded: bounds memory to three batches of inputs."""

Source = TypeVar("Source")
Result = TypeVar("Result")


def prepared_ahead(
    batches: Sequence[Sequence[Source]], prepare: Callable[[Source], Result], worker_count: int
) -> Iterator[list[Result]]:
    """Yield ``prepare`` of every element, batch by batch and in order.

    Parameters
    ----------
    worker_count
        Threads that prepare; 0 prepares in the calling thread, one batch at a time.

    Raises
    ------
    Exception
        Whatever ``prepare`` raises, when its batch is due; work not yet begun is cancelled.
    """
    if worker_count == 0:
        for batch in batches:
            yield [prepare(source) for source in batch]
        return
    pool = ThreadPoolExecutor(worker_count, thread_name_prefix="crossan-prepare")
    waiting: deque[list[Future[Result]]] = deque()
    try:
        for batch in batches:
            waiting.append([pool.submit(prepare, source) for source in batch])
            if len(waiting) > _BATCHES_AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
