"""The first section: what came out, with intervals, and what can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossan.train.comparison.statistics import bootstrap_interval
from crossan.train.report.blocks import Block, Cell, Figures, Section, Table
from crossan.train.report.figures import Figure, Numbers, figure
from crossan.train.report.gathering import Entry
from crossan.train.report.plots import Measured, Series, draw_dots

__all__ = ["figures_text", "headline", "interval_of"]

_TESTED = (
    ("hr@10", "hr", 10),
    ("ndcg@10", "ndcg", 10),
    ("hr@20", "hr", 20),
    ("ndcg@20", "ndcg", 20),
)
"""Metrics of the headline, by what `Entry.per_user` calls them."""
_ALL = tuple(f"{metric}@{k}" for metric in ("hr", "ndcg", "mrr") for k in (5, 10, 20, 50))
_SEED = 0
"""Of every bootstrap, so that the same runs give the same page."""

_NOTE = (
    "Small figures: 95 % interval over users (bootstrap, 1,000 draws), \u00b1 the deviation"
    " between seeds, and that of cold validation targets. Best of a column in colour."
)


def headline(entries: Sequence[Entry]) -> Section:
    """Return the table of test metrics, one row an entry, with popularity below."""
    intervals = {
        (entry.label, name): interval_of(entry, metric, k)
        for entry in entries
        for name, metric, k in _TESTED
    }
    best = {name: _best(entries, "test", name) for name, _, _ in _TESTED}
    best_cold, best_valid = _best(entries, "cold_test", "hr@10"), _best(entries, "valid", "hr@10")
    rows = []
    for entry in entries:
        row = [Cell(entry.label, _who(entry), style=entry.style)]
        for name, _, _ in _TESTED:
            text = figures_text(entry.mean("test", name))
            detail = _detail(intervals[entry.label, name], entry.deviation("test", name))
            row.append(Cell(text, detail, is_best=entry.label == best[name]))
        cold = entry.mean("cold_test", "hr@10")
        of_valid = entry.cold_validation()
        detail = "" if of_valid is None else f"valid {of_valid:.4f}"
        row.append(Cell(figures_text(cold), detail, is_best=entry.label == best_cold))
        valid, deviation = entry.mean("valid", "hr@10"), entry.deviation("valid", "hr@10")
        row.append(Cell(figures_text(valid), _detail(None, deviation), entry.label == best_valid))
        row.append(Cell(f"{entry.runs[0].figures['trainable_parameters']:,}"))
        rows.append(row)
    rows += _popularity_row(entries)
    columns = (
        "",
        *(f"test {name.upper()}" for name, _, _ in _TESTED),
        "cold HR@10",
        "valid HR@10",
        "parameters",
    )
    blocks: list[Block] = [Table("Test metrics over the whole catalogue", columns, rows, _NOTE)]
    tested = [entry for entry in entries if entry.is_tested]
    if len(tested) > 1:
        shown = [_intervals_figure(tested, name, intervals) for name in ("hr@10", "ndcg@10")]
        differences = _differences_figure(tested, best["hr@10"])
        blocks.append(Figures([*shown, *differences]))
    blocks.append(_every_metric(entries))
    return Section("results", "Results", blocks, _lead(entries))


def _every_metric(entries: Sequence[Entry]) -> Table:
    """Return every metric of both parts, folded."""
    rows = [
        [
            Cell(f"{entry.full_label}, {words}"),
            *(Cell(figures_text(entry.mean(part, m))) for m in _ALL),
        ]
        for part, words in (("valid", "validation"), ("test", "test"))
        for entry in entries
        if entry.mean(part, "hr@10") is not None
    ]
    return Table("Every metric", ("", *(name.upper() for name in _ALL)), rows, is_folded=True)


def interval_of(entry: Entry, metric: str, k: int) -> tuple[float, float] | None:
    """Return the bootstrap interval of a test metric, None without ranks of every user."""
    values = entry.per_user(metric, k)
    return None if values is None else bootstrap_interval(values, seed=_SEED)


def figures_text(value: float | None) -> str:
    """Return a share to four digits, a dash where it is not known."""
    return "\u2013" if value is None else f"{value:.4f}"


def _who(entry: Entry) -> str:
    seeds = [run.settings.seed for run in entry.runs]
    of_seeds = f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
    judged = "" if entry.is_tested else "; test targets not looked at"
    return ", ".join([*entry.notes, of_seeds]) + judged


def _detail(interval: tuple[float, float] | None, deviation: float | None) -> str:
    parts = [] if interval is None else [f"{interval[0]:.4f}\u2013{interval[1]:.4f}"]
    parts += [] if deviation is None else [f"\u00b1 {deviation:.4f}"]
    return "\n".join(parts)


def _best(entries: Sequence[Entry], part: str, metric: str) -> str | None:
    """Return the label of the best entry, None where there is nothing to choose from."""
    means = {entry.label: entry.mean(part, metric) for entry in entries}
    known = {label: mean for label, mean in means.items() if mean is not None}
    return max(known, key=lambda label: known[label]) if len(known) > 1 else None


def _popularity_row(entries: Sequence[Entry]) -> list[list[Cell]]:
    """Return the baseline, none where a run of popularity has its figures already."""
    known = [entry for entry in entries if "popularity" in entry.runs[0].figures]
    if not known or any(entry.model == "popularity" for entry in entries):
        return []
    popularity: Mapping[str, Any] = known[0].runs[0].figures["popularity"]
    test = [Cell(figures_text(popularity["test"].get(name))) for name, _, _ in _TESTED]
    cells = [*test, Cell("\u2013"), Cell(figures_text(popularity["valid"]["hr@10"])), Cell("0")]
    return [[Cell("popularity", "baseline"), *cells]]


def _lead(entries: Sequence[Entry]) -> str:
    figures = entries[0].runs[0].figures
    reached = figures.get("cutoffs_reached") or []
    parts = [
        f"Ranked over the whole catalogue of {figures['items']:,} items; ties count against the target."
        if "items" in figures
        else "Ranked over the whole catalogue; ties count against the target."
    ]
    if "unwinnable_test_targets" in figures:
        parts.append(f"{figures['unwinnable_test_targets']:,} test targets are unwinnable.")
    if "cold_test" in figures:
        parts.append(
            f"Cold: {figures['cold_test']['targets']:,} test targets in no training sequence."
        )
    if reached:
        listed = ", ".join(map(str, reached))
        parts.append(
            f"Cut-offs {listed} are not below the items that some targets are ranked among."
        )
    return " ".join(parts)


def _intervals_figure(
    entries: Sequence[Entry],
    name: str,
    intervals: Mapping[tuple[str, str], tuple[float, float] | None],
) -> Figure:
    measured = []
    for entry in entries:
        low, high = intervals[entry.label, name] or (None, None)
        measured.append(Measured(entry.mean("test", name) or 0.0, low, high))
    labels = [entry.label for entry in entries]
    return _dots(
        f"test-{name.replace('@', '-')}", f"Test {name.upper()}", entries, labels, measured,
        f"test {name.upper()}",
    )  # fmt: skip


def _differences_figure(entries: Sequence[Entry], best: str | None) -> list[Figure]:
    """Return each entry's paired difference to the best, where the users are the same."""
    leader = next((entry for entry in entries if entry.label == best), None)
    reference = None if leader is None else leader.per_user("hr", 10)
    if leader is None or reference is None:
        return []
    others, measured = [], []
    for entry in entries:
        values = entry.per_user("hr", 10)
        if entry is leader or values is None or not _same_users(entry, leader):
            continue
        low, high = bootstrap_interval(values - reference, seed=_SEED)
        others.append(entry)
        measured.append(Measured(float(np.mean(values - reference)), low, high))
    if not others:
        return []
    labels = [entry.label for entry in others]
    title = f"Difference to the best, {leader.label}"
    caption = "Test HR@10 of the same users, paired. An interval that reaches 0 is no difference."
    return [
        _dots("test-differences", title, others, labels, measured, "HR@10 less the best's", caption)
    ]


def _same_users(one: Entry, other: Entry) -> bool:
    first, second = one.runs[0].ranks, other.runs[0].ranks
    return (
        first is not None and second is not None and np.array_equal(first.user_ids, second.user_ids)
    )


def _dots(
    name: str,
    title: str,
    entries: Sequence[Entry],
    labels: Sequence[str],
    measured: Sequence[Measured],
    what: str,
    caption: str = "Dots: means; lines: 95 % intervals over users.",
) -> Figure:
    series = [Series(e.label, [m], e.style) for e, m in zip(entries, measured, strict=True)]
    numbers = Numbers(
        ("run", what, "low", "high"),
        [(label, m.value, m.low, m.high) for label, m in zip(labels, measured, strict=True)],
    )
    said = "; ".join(f"{label} {m.value:.4f}" for label, m in zip(labels, measured, strict=True))
    return figure(
        name,
        title,
        numbers,
        lambda canvas: draw_dots(canvas, series, what),
        size=(4.1, 0.95 + 0.3 * len(labels)),
        alt=f"{title}: {said}",
        caption=caption,
    )
