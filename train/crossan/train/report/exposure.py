"""What is recommended at all: coverage, concentration and popularity of the lists."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from crossan.train.report.blocks import Cell, Section, Table
from crossan.train.report.gathering import Entry

__all__ = ["exposure_section"]

_NOTE = (
    "Lists for every user after the test history, which they leave out. Gini 0: every item is shown"
    " equally often. Popularity: occurrences in the training part; lift: by how much what is shown"
    " is more popular than what was chosen."
)


def exposure_section(entries: Sequence[Entry]) -> Section | None:
    """Return one row an entry, None where no lists were made."""
    rows = []
    for entry in entries:
        lists = [
            run.figures["recommendations"] for run in entry.runs if "recommendations" in run.figures
        ]
        if not lists:
            continue

        def mean(name: str, lists: Sequence[dict[str, float]] = lists) -> float:
            return statistics.fmean(one[name] for one in lists)

        rows.append(
            [
                Cell(entry.label, entry.model, style=entry.style),
                Cell(f"{lists[0]['top']}"),
                Cell(f"{100 * mean('coverage'):.1f}%"),
                Cell(f"{mean('gini'):.3f}"),
                Cell(f"{mean('mean_popularity'):.1f}"),
                Cell(f"{mean('history_mean_popularity'):.1f}"),
                Cell(f"{100 * mean('popularity_lift'):+.1f}%"),
            ]
        )
    if not rows:
        return None
    columns = (
        "run",
        "items a list",
        "coverage of the catalogue",
        "Gini",
        "mean popularity",
        "of the histories",
        "lift",
    )
    return Section(
        "shown", "What is recommended", [Table("Lists of the test users", columns, rows, _NOTE)]
    )
