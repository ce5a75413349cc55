"""Ending well on SIGTERM and Ctrl-C.

The piece of work in hand is finished and kept, and only then the process ends.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from crossan.common.console import note

__all__ = ["TERMINATED", "ToldToEnd", "end_by", "finishing_on"]

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a job that was told to end, and did."""


class ToldToEnd(threading.Event):
    """Set once the process was told to end."""

    number: signal.Signals | None = None
    """The signal that said so, None where no signal did or where somebody else set the event."""


def end_by(number: int | None) -> NoReturn:
    """End as the signal says that was heard, now that the work in hand is finished.

    Raises
    ------
    KeyboardInterrupt
        It was Ctrl-C.
    SystemExit
        It was another, or somebody else said so; its code is `TERMINATED`.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(TERMINATED)


@contextmanager
def finishing_on(*numbers: signal.Signals, work: str) -> Iterator[ToldToEnd]:
    """Yield an event that the first of these signals sets.

    A second signal ends the process as if there were no block.

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
    event = ToldToEnd()
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in numbers if is_main}
    # Handling a signal that the shell had us ignore would let Ctrl-C end a background job.
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def restore() -> None:
        for number in heard:
            signal.signal(number, before[number])

    def finish(number: int, frame: FrameType | None) -> None:
        del frame
        event.number = signal.Signals(number)
        event.set()
        # From here on a second signal meets the former handlers, which end the process at once.
        restore()
        # Python refuses to print while it prints: the signal may have come in the middle of a line.
        with suppress(RuntimeError):
            note(f"{event.number.name}: finishing the {work} in hand; a second one ends at once")

    for number in heard:
        signal.signal(number, finish)
    try:
        yield event
    finally:
        restore()
