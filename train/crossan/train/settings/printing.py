"""Settings as tables that fit the terminal, and as one line each elsewhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from crossan.common.console import Column, is_terminal, print_table
from crossan.train.settings.describing import Description, Section, default_text

__all__ = ["print_sections"]

_ROOM = 36
"""Characters that the meaning must have beside the other columns; with fewer they go into it."""
_GAP = 3


def print_sections(sections: Sequence[Section]) -> None:
    """Print a table for each group of settings on stdout."""
    tables = [_wide_table(section) for section in sections]
    if is_terminal(sys.stdout):
        width = shutil.get_terminal_size().columns
        if any(width - _width_but_meaning(table) < _ROOM for table in tables):
            tables = [_narrow_table(section) for section in sections]
    for number, (section, (names, *rows)) in enumerate(zip(sections, tables, strict=True)):
        title = ": ".join(filter(None, (section.name or "run", section.meaning)))
        if number:
            print()
        columns = [Column(name, is_whole=name != "meaning") for name in names]
        if not section.kinds:
            print_table(columns, rows, title)
            continue
        print_table([Column("kind", is_whole=True), Column("meaning")], section.kinds, title)
        print()
        print_table(columns, rows)


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


def _width_but_meaning(rows: Sequence[Sequence[str]]) -> int:
    """Return the characters of all columns but the last, the gaps behind them included."""
    return sum(max(map(len, column)) + _GAP for column in [*zip(*rows, strict=True)][:-1])
