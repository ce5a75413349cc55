"""Preparing the next step while the device is at this one."""

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
    """Yield what ``prepare`` makes of each task, in their order, one made ahead by a thread of its own.

    While one is in use the next is made; no third begins before the next is
    asked for. What ``prepare`` raises is raised where that one is asked for.
    The thread has ended when the block has, however it ends.

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
        # Through a list: a name here would keep the one in use alive until the one after the next begins.
        ready = [ahead.result()]
        ahead = begin(task)
        yield ready.pop()
    yield ahead.result()
