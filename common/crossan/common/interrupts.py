"""SIGTERM and Ctrl-C: finish the piece of work in hand, keep it, and only then end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from crossan.common.console import note

__all__ = ["TERMINATED", "ToldToEnd", "finishing_on"]

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a job that was told to end, and did."""


class ToldToEnd(threading.Event):
    """Set once the process was told to end."""

    number: signal.Signals | None = None
    """The signal that told it; None where none has, or where somebody else set the event."""


@contextmanager
def finishing_on(*numbers: signal.Signals, work: str) -> Iterator[ToldToEnd]:
    """Yield an event that the first of these signals sets; a second one ends the process as if there were no block.

    Only a process's main thread hears signals: elsewhere the event stays unset
    unless somebody sets it. A signal that the process was started to ignore
    (Ctrl-C in a shell's background job) stays ignored.

    Parameters
    ----------
    numbers
        The signals to hear.
    work
        What will be finished first, for the people who sent the signal, for example ``"batch"``.
    """
    told = ToldToEnd()
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in numbers if is_main}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def restore() -> None:
        for number in heard:
            signal.signal(number, before[number])

    def finish(number: int, frame: FrameType | None) -> None:
        del frame
        told.number = signal.Signals(number)
        told.set()
        restore()
        with suppress(
            RuntimeError
        ):  # it came while a line was being printed, which nothing may print into
            note(f"{told.number.name}: finishing the {work} in hand; a second one ends at once")

    for number in heard:
        signal.signal(number, finish)
    try:
        yield told
    finally:
        restore()
