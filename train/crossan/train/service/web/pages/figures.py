"""Figures of runs, models and gates, put into the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crossan.train.service.web.pages.words import flat

__all__ = [
    "FigureTable",
    "GateRow",
    "Verdict",
    "figure_table",
    "headline",
    "ndcg_of",
    "verdict_of",
]

_COLUMNS = ("ndcg@10", "hr@10", "mrr@10", "ndcg@20", "hr@20")
_PARTS = (
    ("test", "Test"),
    ("cold_test", "Test, cold items"),
    ("valid", "Validation"),
    ("cold_valid", "Validation, cold items"),
)
_GATE_ROWS = (("all", "All", "margin"), ("cold", "With cold targets", "cold_margin"))
_HEADLINE = (
    ("test", "ndcg@10", "Test NDCG@10"),
    ("test", "hr@10", "Test HR@10"),
    ("cold_test", "ndcg@10", "Cold NDCG@10"),
)


@dataclass(frozen=True, slots=True)
class FigureTable:
    """The metrics of a result as a table, and everything else it says as pairs."""

    columns: tuple[str, ...] = ()
    rows: list[tuple[str, list[object]]] = field(default_factory=list)
    entries: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GateRow:
    """What a gate measured on some users."""

    name: str
    candidate: float | None
    production: float | None
    difference: float | None
    interval: tuple[float, float] | None
    margin: float | None
    users: int | None
    is_shown: bool
    """Whether the interval proves that it is worse by no more than the margin."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a gate holds, and the numbers that say so."""

    holds: bool
    reason: str
    rows: list[GateRow]
    entries: list[tuple[str, str]]


def figure_table(result: Mapping[str, Any]) -> FigureTable:
    """Return the metrics of a ``result.json``, or of what repeats a part of it.

    Parameters
    ----------
    result
        May be empty, or that of a step which measures nothing.
    """
    parts = {
        name: metrics
        for name, _ in _PARTS
        if isinstance(metrics := result.get(name), Mapping) and metrics and _has_targets(metrics)
    }
    columns = tuple(name for name in _COLUMNS if any(name in one for one in parts.values()))
    if not columns:
        return FigureTable(entries=flat(result))
    rows = [
        (title, [parts[name].get(column) for column in columns])
        for name, title in _PARTS
        if name in parts
    ]
    others = {name: value for name, value in result.items() if name not in parts}
    return FigureTable(tuple(name.upper() for name in columns), rows, flat(others))


def ndcg_of(result: Mapping[str, Any], part: str) -> float | None:
    """Return the NDCG@10 of a part of a result, None where it has none or the part no targets."""
    metrics = result.get(part)
    if not isinstance(metrics, Mapping) or not _has_targets(metrics):
        return None
    value = metrics.get("ndcg@10")
    return value if isinstance(value, float) else None


def _has_targets(metrics: Mapping[str, Any]) -> bool:
    """Whether metrics are of any targets, as those of all are: their number is of cold ones."""
    return metrics.get("targets") != 0


def headline(card: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return the name and the value of the figures that a model is known by.

    Parameters
    ----------
    card
        Of a version.
    """
    figures = card.get("figures", {})
    return [
        (title, figures[part][name])
        for part, name, title in _HEADLINE
        if isinstance(figures.get(part), Mapping) and figures[part].get(name) is not None
    ]


def verdict_of(result: Mapping[str, Any] | None) -> Verdict | None:
    """Return what a gate said, None where it has not judged.

    Parameters
    ----------
    result
        That of the night's run whose step is the gate.
    """
    if not result or "holds" not in result:
        return None
    rows = [
        _gate_row(title, result[name], result.get(margin))
        for name, title, margin in _GATE_ROWS
        if isinstance(result.get(name), Mapping)
    ]
    told = {"holds", "reasons", "all", "cold", "margin", "cold_margin", "metric", "held_back"}
    others = {name: value for name, value in result.items() if name not in told}
    reasons = "; ".join(str(one) for one in result.get("reasons", ()))
    return Verdict(bool(result["holds"]), reasons, rows, flat(others))


def _gate_row(name: str, values: Mapping[str, Any], margin: float | None) -> GateRow:
    interval = values.get("interval")
    return GateRow(
        name=name,
        candidate=values.get("candidate"),
        production=values.get("production"),
        difference=values.get("difference"),
        interval=None if interval is None else (interval[0], interval[1]),
        margin=margin,
        users=values.get("users"),
        is_shown=bool(values.get("is_shown")),
    )
