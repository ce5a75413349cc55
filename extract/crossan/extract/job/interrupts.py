"""SIGTERM: finish the batch in hand, commit, and only then end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from crossan.common.console import note

__all__ = ["TERMINATED", "finishing_on_terminate"]

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a job that was told to end, and did."""


@contextmanager
def finishing_on_terminate() -> Iterator[threading.Event]:
    """Yield an event that the first SIGTERM sets; a second one ends the process as if there were no block.

    Only a process's main thread hears signals: elsewhere the event stays unset
    unless somebody sets it.
    """
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = signal.getsignal(signal.SIGTERM)

    def finish(number: int, frame: FrameType | None) -> None:
        del number, frame
        told.set()
        signal.signal(signal.SIGTERM, before)
        note("SIGTERM: finishing the batch in hand; a second one ends at once")

    signal.signal(signal.SIGTERM, finish)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)
