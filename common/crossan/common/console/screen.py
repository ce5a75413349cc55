"""The one live display on stderr: the lines of whatever is in progress, and notes above them."""

from __future__ import annotations

import sys
from threading import RLock
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress

from crossan.common.console.streams import (
    broken_between_words,
    is_terminal,
    printable,
    printable_lines,
)

__all__ = ["Line", "Screen", "screen"]


class Line(Protocol):
    """What is in progress."""

    label: str
    done: int
    total: int

    def figures(self) -> str:
        """Return what is said after the bar."""


class Screen:
    """Show the lines that are in progress, in the order in which they were first drawn.

    Threads may call everything here. It starts no thread: a line is drawn
    when its work advances.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._display: Progress | None = None
        self._tasks: dict[int, Any] = {}

    def say(self, message: str) -> None:
        """Print a message on stderr, above whatever is in progress.

        On a terminal its lines are broken between words.
        """
        with self._lock:
            text = printable_lines(message)
            if is_terminal(sys.stderr):
                text = broken_between_words(text)
            if self._display is None:
                print(text, file=sys.stderr, flush=True)
            else:
                self._display.console.print(text, soft_wrap=True)

    def show(self, line: Line) -> None:
        """Draw a line, or draw it anew."""
        from crossan.common.console.drawing import fit_line, live_display

        with self._lock:
            if self._display is None:
                self._display = live_display()
                self._display.start()
            display, task = self._display, self._tasks.get(id(line))
            label = printable(line.label)
            figures, bar = fit_line(display.console.width, label, printable(line.figures()))
            if task is None:
                self._tasks[id(line)] = display.add_task(
                    label, total=line.total, completed=line.done, figures=figures, bar=bar
                )
            else:
                display.update(task, completed=line.done, figures=figures, bar=bar)
                display.refresh()

    def hide(self, line: Line) -> None:
        """Take a line away; the display ends with the last one."""
        with self._lock:
            task = self._tasks.pop(id(line), None)
            if self._display is None or task is None:
                return
            if self._tasks:
                self._display.remove_task(task)
                self._display.refresh()
            else:
                self._display.stop()
                self._display = None


screen = Screen()
"""That of this process."""
