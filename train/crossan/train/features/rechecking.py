"""Comparing the stores with their records once an epoch, while the epoch is taken."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain

__all__ = ["Rechecking"]

_REST = 3.0
"""Seconds of rest after a second of reading, so that the training keeps disk and cores."""
_LOWEST_PRIORITY = 19


class Rechecking:
    """One comparison of everything, by a thread that yields to all others.

    Rows that training reads are compared whenever they are read. This also finds,
    within the epoch, what has rotted in those that it seldom reads or keeps in RAM.
    It is a context manager, at whose end the thread ends, done or not.

    Parameters
    ----------
    chunks
        Compares one chunk with its record at each step, and raises where they
        differ. Nothing at all is compared for None.
    changed
        Compares in the same way, in the end, those that have changed meanwhile.
    """

    def __init__(self, chunks: Iterator[int] | None, changed: Iterable[int] = ()) -> None:
        self._chunks, self._changed = chunks, changed
        self._is_wanted_here = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="crossan-recheck", daemon=True)

    def __enter__(self) -> Rechecking:
        """Begin."""
        if self._chunks is not None:
            self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """End the thread after the chunk in hand."""
        self._stop_thread()

    def look(self) -> None:
        """Raise what was found so far, as `finish` does."""
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Compare what is left, without rest.

        Raises
        ------
        StoreIntegrityError
            A chunk is not what was recorded.
        """
        self._stop_thread()
        self.look()
        # Here and not there: a thread of low priority may wait for long on a busy machine.
        for _ in chain(self._chunks or (), self._changed):
            pass

    def _stop_thread(self) -> None:
        self._is_wanted_here.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        assert self._chunks is not None
        with suppress(OSError):  # where a container forbids it, the rest alone must do
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        begun = time.monotonic()
        try:
            for _ in self._chunks:
                if self._is_wanted_here.wait(_REST * (time.monotonic() - begun)):
                    return
                begun = time.monotonic()
        except Exception as error:  # noqa: BLE001 - raised by `finish` in the thread that trains
            self._error = error
