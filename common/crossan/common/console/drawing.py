"""What rich draws on a terminal; imported only where something is drawn."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

__all__ = ["drawing_on", "fit_line", "live_display"]

_WIDEST_BAR = 40
_NARROWEST_BAR = 8
_FEWEST_FIGURES = 20


class _VisibleCursorConsole(Console):
    """A console that never hides the cursor, which a killed process could not bring back."""

    def show_cursor(self, show: bool = True) -> bool:
        """Return that nothing was done."""
        del show
        return False


class _Bar(ProgressColumn):
    """A bar as wide as the field ``bar`` of its task says; 0 draws none."""

    def render(self, task: Task) -> ProgressBar | Text:
        """Return the bar of one line."""
        if not task.fields["bar"]:
            return Text()
        return ProgressBar(
            total=task.total,
            completed=task.completed,
            width=task.fields["bar"],
            style="dim",
            complete_style="cyan",
            finished_style="cyan",
        )


def drawing_on(stream: TextIO) -> Console:
    """Return a rich console that draws on a terminal; text is printed as it is, without markup.

    Colours are the terminal's own, and there are none where ``NO_COLOR`` is set.
    """
    return _VisibleCursorConsole(
        file=stream, force_terminal=True, markup=False, highlight=False, emoji=False
    )


def live_display() -> Progress:
    """Return a display on stderr that draws when told to, and goes when it ends.

    Its tasks have the fields ``bar``, in cells, and ``figures``. What others
    print meanwhile stands above it; stdout stays where it goes unless that is
    a terminal.
    """
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        _Bar(),
        TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True)),
        console=drawing_on(sys.stderr),
        auto_refresh=False,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )


def fit_line(width: int, label: str, figures: str) -> tuple[str, int]:
    """Return the figures, cut at their end where the line is too short, and the bar's cells.

    There is no bar where only a stump would fit.
    """
    room = width - cell_len(label) - cell_len(figures) - 2
    if room < 0:
        text = Text(figures)
        # rich would take from the label as well, which says what the figures are of
        text.truncate(max(width - cell_len(label) - 2, _FEWEST_FIGURES), overflow="ellipsis")
        return text.plain, 0
    return figures, min(room, _WIDEST_BAR) if room >= _NARROWEST_BAR else 0
