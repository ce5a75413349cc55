"""Tables: drawn by rich on a terminal, plain aligned text elsewhere; nothing is ever cut off."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from crossan.common.console.streams import is_terminal, printable, printable_lines

__all__ = ["Column", "print_fields", "print_table"]

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    is_number: bool = False
    """Numbers stand at the right, and never break over lines."""
    is_whole: bool = False
    """Whether texts never break over lines, either; a table of such columns needs their room."""


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str | None = None
) -> None:
    """Print a table on stdout.

    Off a terminal a row is one line however long, with two blanks at least
    between cells. On a terminal that is too narrow, texts go on in further
    lines of their cell.

    Parameters
    ----------
    columns
        Names and kinds of the columns.
    rows
        Cells of every row, as texts, in the columns' order.
    title
        A line above it.
    """
    title = None if title is None else printable_lines(title)
    safe = [[printable(cell) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        _draw_table(columns, safe, title)
    else:
        for line in [*([] if title is None else [title]), *_plain_lines(columns, safe)]:
            print(line)
    sys.stdout.flush()


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and their values on stdout, one to a line."""
    safe = [(name, printable(value)) for name, value in fields]
    if is_terminal(sys.stdout):
        from rich.table import Table

        from crossan.common.console.drawing import drawing_on

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in safe:
            grid.add_row(name, value)
        drawing_on(sys.stdout).print(grid)
    else:
        width = max((len(name) for name, _ in safe), default=0)
        for name, value in safe:
            print(f"{name:<{width}}{_GAP}{value}")
    sys.stdout.flush()


def _draw_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str | None
) -> None:
    from rich import box
    from rich.table import Table

    from crossan.common.console.drawing import drawing_on

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column in columns:
        justify = "right" if column.is_number else "left"
        table.add_column(
            column.name,
            justify=justify,  # type: ignore[arg-type]
            overflow="fold",
            no_wrap=column.is_number or column.is_whole,
        )
    for row in rows:
        table.add_row(*row)
    console = drawing_on(sys.stdout)
    if title is not None:
        console.print(title, style="bold cyan")
    console.print(table)


def _plain_lines(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    from rich.cells import cell_len

    lines = [[column.name for column in columns], *rows]
    widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
    return [
        _GAP.join(
            " " * (width - cell_len(cell)) + cell
            if column.is_number
            else cell + " " * (width - cell_len(cell))
            for column, width, cell in zip(columns, widths, line, strict=True)
        ).rstrip()
        for line in lines
    ]
