"""Running trials as processes, as many at a time as there are slots."""

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
from crossan.common.refusals import blaming, make_folder
from crossan.train.sweep.devices import Slot

__all__ = ["TrialCommand", "run_commands"]

_PROGRAM = "from crossan.train.sweep.child import main; main()"
_SECONDS_BETWEEN_LOOKS = 0.1
_ERROR_LINE = re.compile(r"[A-Za-z_.]+: ")
"""How our errors begin in a log, for example ``UsageError: ...``."""
_MOST_LINES = 8


@dataclass(frozen=True, slots=True)
class TrialCommand:
    """One ``crossan-train`` to run."""

    name: str
    """Name of its run folder."""
    arguments: tuple[str, ...]
    """The arguments of ``crossan-train``, except the device."""
    log: Path
    """The file to which its output is added."""


def run_commands(
    commands: Sequence[TrialCommand],
    slots: Sequence[Slot],
    interrupt: ToldToEnd,
    on_end: Callable[[TrialCommand, int, str], None],
    on_look: Callable[[int], None] | None = None,
) -> None:
    """Run every command in a slot, until all have ended or the sweep is interrupted.

    After an interrupt, the running commands get SIGTERM, write their checkpoints
    and end, and nothing more is started.

    Parameters
    ----------
    commands, slots
        What to run, and where.
    interrupt
        Whether the sweep was told to end.
    on_end
        Called with a command, its exit code (negative for a signal) and the
        reason, which is empty for exit code 0.
    on_look
        Called ten times a second with the number of running commands.
    """
    waiting, free = deque(commands), list(reversed(slots))
    running: list[_Child] = []
    try:
        while running or (waiting and not interrupt.is_set()):
            while waiting and free and not interrupt.is_set():
                running.append(_Child(waiting.popleft(), free.pop()))
            if interrupt.is_set():
                for child in running:
                    child.terminate()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            for child in [child for child in running if child.has_ended]:
                running.remove(child)
                free.append(child.slot)
                on_end(child.command, child.exit_code, child.reason())
            if on_look is not None:
                on_look(len(running))
    finally:
        # After a second signal, or a bug, no child may outlive the sweep.
        for child in running:
            child.kill()


class _Child:
    """One running command."""

    def __init__(self, command: TrialCommand, slot: Slot) -> None:
        self.command, self.slot = command, slot
        self._is_terminated = False
        make_folder(command.log.parent)
        program = [sys.executable, "-c", _PROGRAM, str(os.getpid())]
        with blaming(command.log), command.log.open("ab") as log:
            # An earlier attempt may have written to the same log: its errors are not this one's.
            self._log_begin = log.tell()
            self._process = subprocess.Popen(
                [*program, *command.arguments, "--device", slot.device],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment() | dict(slot.environment),
                # A process group of its own: Ctrl-C reaches it through the sweep only, as SIGTERM.
                process_group=0,
            )

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    @property
    def exit_code(self) -> int:
        """The exit code of the ended process, negative for a signal."""
        return self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM at the first call."""
        # A second one would end the process without a checkpoint.
        if not self._is_terminated:
            self._is_terminated = True
            self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()

    def reason(self) -> str:
        """Return the signal or the last error in the log, or nothing after a success."""
        code = self.exit_code
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        if code == 0:
            return ""
        with self.command.log.open("rb") as log:
            log.seek(self._log_begin)
            lines = log.read().decode(errors="replace").splitlines()
        begin = max(len(lines) - 1, 0)
        for number, line in enumerate(lines):
            if _ERROR_LINE.match(line):
                begin = number
        return "\n".join(lines[begin:][:_MOST_LINES]) or f"exit code {code}, without any output"


def _environment() -> dict[str, str]:
    """Return the environment of this process without variables that set settings."""
    # The sweep has read them already: a trial that reads them again could override its point.
    return {name: value for name, value in os.environ.items() if not name.startswith("CROSSAN_")}
