"""Call a function for many items in threads, and give up on the calls that do not return."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Generic, TypeVar

__all__ = ["timed_map"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_SECONDS_BETWEEN_LOOKS = 0.5


class _Call(Generic[Item, Result]):
    """One item on its way to a result."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.future: Future[Result] = Future()
        self.begun = float("inf")
        self.is_given_up = False


def timed_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    thread_count: int,
    seconds: float,
) -> Iterator[Result | None]:
    """Yield the result for each item, in order, or None where it took too long.

    A call that does not return keeps its thread, which nobody waits for any more, and
    another thread takes its place.

    Parameters
    ----------
    function
        Called in several threads at once.
    seconds
        Time on the clock for one call.

    Raises
    ------
    Exception
        Whatever the function raised for an item, when its turn comes.
    """
    calls = [_Call[Item, Result](item) for item in items]
    waiting: SimpleQueue[_Call[Item, Result] | None] = SimpleQueue()
    for call in calls:
        waiting.put(call)
    is_closed = threading.Event()

    def serve() -> None:
        while not is_closed.is_set() and (call := waiting.get()) is not None:
            call.begun = time.monotonic()
            try:
                call.future.set_result(function(call.item))
            except Exception as error:  # noqa: BLE001 - raised where the result is taken
                call.future.set_exception(error)
            if call.is_given_up:
                return

    def start() -> None:
        # A daemon, which the interpreter does not wait for at its end. The threads of an executor
        # are none, and one that a dead file server holds would keep the process from ending.
        threading.Thread(target=serve, name="crossan-look", daemon=True).start()

    for _ in range(min(thread_count, len(calls))):
        start()
    try:
        for call in calls:
            while not wait([call.future], _SECONDS_BETWEEN_LOOKS).done:
                if time.monotonic() - call.begun > seconds:
                    call.is_given_up = True
                    start()
                    break
            yield None if call.is_given_up else call.future.result()
    finally:
        is_closed.set()
        for _ in range(thread_count):
            waiting.put(None)
