"""Settings as tables that fit the terminal, and as one line each elsewhere."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from crossan.train.settings.describing import Description, Section, default_text

__all__ = ["print_sections", "terminal_width"]

_ROOM = 36
"""Characters that the meaning must have beside the other columns; with fewer they go into it."""
_GAP = 2


def terminal_width() -> int | None:
    """Return the characters of a line of stdout, None where stdout is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_sections(sections: Sequence[Section], width: int | None) -> None:
    """Print a table for each group of settings on stdout.

    Parameters
    ----------
    sections
        The groups.
    width
        Characters of a line; None for one line each however long.
    """
    tables = [_wide_table(section) for section in sections]
    if width is not None and any(width - sum(_widths(table)) < _ROOM for table in tables):
        tables = [_narrow_table(section) for section in sections]
    for number, (section, table) in enumerate(zip(sections, tables, strict=True)):
        title = ": ".join(filter(None, (section.name or "run", section.meaning)))
        print("\n" * bool(number) + title)
        if section.kinds:
            _print_rows(section.kinds, width)
            print()
        _print_rows(table, width)


def _wide_table(section: Section) -> list[list[str]]:
    models = ["models"] if section.kinds else []
    head = ["setting", "default", "values", "paper", *models, "meaning"]
    return [head, *(_wide(section, described) for described in section.settings)]


def _narrow_table(section: Section) -> list[list[str]]:
    head = ["setting", "default", "meaning"]
    return [head, *(_narrow(section, described) for described in section.settings)]


def _wide(section: Section, described: Description) -> list[str]:
    models = [section.models_text(described)] if section.kinds else []
    paper = str(described.paper or "")
    default = default_text(described)
    return [described.name, default, described.allowed, paper, *models, described.meaning]


def _narrow(section: Section, described: Description) -> list[str]:
    parts = [
        described.meaning,
        f"Values: {described.allowed}.",
        f"Paper: {described.paper}." if described.paper else "",
        f"Models: {section.models_text(described)}." if section.kinds else "",
    ]
    return [described.name, default_text(described), " ".join(filter(None, parts))]


def _print_rows(rows: Sequence[Sequence[str]], width: int | None) -> None:
    """Print rows with aligned columns, the last one wrapped where the line ends at ``width``."""
    widths = _widths(rows)
    indent = sum(widths)
    for *cells, last in rows:
        start = "".join(f"{cell:<{size}}" for cell, size in zip(cells, widths, strict=True))
        room = len(last) + 1 if width is None else max(width - indent, 20)
        # A choice such as unseen-only is one word to type, so it is not broken at its hyphen.
        lines = textwrap.wrap(last, room, break_on_hyphens=False) or [""]
        print(f"{start}{lines[0]}".rstrip())
        for line in lines[1:]:
            print(" " * indent + line)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of every column but the last, the gap behind it included."""
    return [max(map(len, column)) + _GAP for column in zip(*rows, strict=True)][:-1]
