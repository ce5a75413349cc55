"""Trials as processes: as many at a time as there are slots, ended with the sweep."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossan.common.interrupts import ToldToEnd
from crossan.train.sweep.devices import Slot

__all__ = ["Order", "run_orders"]

_PROGRAM = "from crossan.train.sweep.child import main; main()"
_SECONDS_BETWEEN_LOOKS = 0.1
_ERROR_LINE = re.compile(r"[A-Za-z_.]+: ")
_MOST_LINES = 8


@dataclass(frozen=True, slots=True)
class Order:
    """One ``crossan-train`` to run."""

    name: str
    """Name of its run folder."""
    arguments: tuple[str, ...]
    """What follows ``crossan-train``, but for the device."""
    log: Path
    """Where its output is added."""


def run_orders(
    orders: Sequence[Order],
    slots: Sequence[Slot],
    told: ToldToEnd,
    on_end: Callable[[Order, int, str], None],
    on_look: Callable[[int], None] | None = None,
) -> None:
    """Run every order, one a slot at a time, until all have ended or the sweep is told to end.

    Once told, the running ones get SIGTERM, write their checkpoints and end,
    and nothing more is started.

    Parameters
    ----------
    orders, slots
        What is to run, and where.
    told
        Whether the sweep was told to end.
    on_end
        Called with an order, its exit code (negative for a signal) and, where that is not 0, the reason.
    on_look
        Called ten times a second with the number of running ones.
    """
    waiting, free = deque(orders), list(reversed(slots))
    running: list[_Child] = []
    try:
        while running or (waiting and not told.is_set()):
            while waiting and free and not told.is_set():
                running.append(_Child(waiting.popleft(), free.pop()))
            if told.is_set():
                for child in running:
                    child.terminate()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            for child in [child for child in running if child.has_ended]:
                running.remove(child)
                free.append(child.slot)
                on_end(child.order, child.exit_code, child.reason())
            if on_look is not None:
                on_look(len(running))
    finally:
        for child in running:  # a second signal, or a bug: nobody is left behind
            child.kill()


class _Child:
    """One running order. Its process group is its own, so that Ctrl-C reaches it through the sweep only, as SIGTERM."""

    def __init__(self, order: Order, slot: Slot) -> None:
        self.order, self.slot = order, slot
        self._is_told = False
        order.log.parent.mkdir(exist_ok=True)
        with order.log.open("ab") as log:
            self._log_begin = log.tell()
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _PROGRAM,
                    str(os.getpid()),
                    *order.arguments,
                    "--device",
                    slot.device,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment() | dict(slot.environment),
                process_group=0,
            )

    @property
    def has_ended(self) -> bool:
        """Whether the process is over."""
        return self._process.poll() is not None

    @property
    def exit_code(self) -> int:
        """Exit code of the ended process, negative for a signal."""
        return self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM, once: a second one would end it without a checkpoint."""
        if not self._is_told:
            self._is_told = True
            self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def reason(self) -> str:
        """Return why it failed: the last error in its log, or the signal; empty where it did not."""
        code = self.exit_code
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        if code == 0:
            return ""
        with self.order.log.open("rb") as log:
            log.seek(self._log_begin)
            lines = log.read().decode(errors="replace").splitlines()
        begin = next(
            (n for n in reversed(range(len(lines))) if _ERROR_LINE.match(lines[n])), len(lines) - 1
        )
        return (
            "\n".join(lines[max(begin, 0) :][:_MOST_LINES]) or f"exit code {code}, without a word"
        )


def _environment() -> dict[str, str]:
    """Return our variables but for those that would change a trial's settings behind the sweep's back."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CROSSAN_")}
