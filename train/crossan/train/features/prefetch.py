"""Preparing the next step while the device computes this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["prepared_ahead"]

TaskT = TypeVar("TaskT")
ReadyT = TypeVar("ReadyT")


@contextmanager
def prepared_ahead(
    tasks: Iterable[TaskT], prepare: Callable[[TaskT], ReadyT]
) -> Iterator[Iterator[ReadyT]]:
    """Yield what ``prepare`` makes of each task, in order, with one made ahead in a thread.

    While one result is in use the next is made, and no third begins before the
    next is taken. An error of ``prepare`` is raised where its result would be
    taken. The thread ends with the block, however that ends.

    Parameters
    ----------
    tasks
        Taken one by one by the calling thread.
    prepare
        Must depend on nothing that the block changes.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="crossan-prefetch") as thread:
        yield _one_ahead(iter(tasks), lambda task: thread.submit(prepare, task))


def _one_ahead(
    tasks: Iterator[TaskT], begin: Callable[[TaskT], Future[ReadyT]]
) -> Iterator[ReadyT]:
    for task in tasks:
        ahead = begin(task)
        break
    else:
        return
    for task in tasks:
        # In a list that is emptied: a local name would keep this result alive after the caller has
        # let go of it, until the next one is taken.
        ready = [ahead.result()]
        ahead = begin(task)
        yield ready.pop()
    yield ahead.result()
