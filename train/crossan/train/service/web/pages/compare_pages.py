"""Runs side by side: choosing them, and the table of ``crossan compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossan.cache_schema.errors import CrossanError
from crossan.train.service.queue.rows import RunRow
from crossan.train.service.web.pages.figures import ndcg_of
from crossan.train.service.web.pages.rendering import View

__all__ = ["compare_page"]

_UNKNOWN = {"mean": None}
"""The figure of a row that has no cold targets, or did not record them."""


def compare_page(
    view: View,
    runs: Sequence[RunRow],
    chosen: Sequence[int],
    comparison: Mapping[str, Any] | None = None,
    error: CrossanError | None = None,
) -> str:
    """Return the page that sets runs side by side.

    Parameters
    ----------
    view
        Who looks.
    runs
        Trainings that finished, the newest first.
    chosen
        Numbers of those that are compared.
    comparison
        What ``crossan compare --json`` says, its rows named by the numbers of the runs.
    error
        Why they cannot be compared.
    """
    return view.render(
        "compare",
        runs=[
            {
                "run": run,
                "is_chosen": run.id in chosen,
                "model": (run.result or {}).get("model") or "",
                "value": ndcg_of(run.result or {}, "test"),
                "cold": ndcg_of(run.result or {}, "cold_test"),
            }
            for run in runs
        ],
        comparison=None if comparison is None else _table(comparison, runs),
        error=error,
    )


def _table(comparison: Mapping[str, Any], runs: Sequence[RunRow]) -> dict[str, Any]:
    labels = {str(run.id): run.label for run in runs}
    columns = list(comparison["rows"][0]["metrics"]) if comparison["rows"] else []
    # Of cold targets there are two figures, where a row has any.
    cold = list(next((row["cold"] for row in comparison["rows"] if row.get("cold")), {}))
    protocol = comparison.get("protocol", {})
    return {
        "part": comparison["compared_on"],
        "caption": f"{protocol.get('users', 0):,} users, {protocol.get('items', 0):,} items",
        "columns": [name.upper() for name in columns] + [f"Cold {name.upper()}" for name in cold],
        "rows": [_row(one, columns, cold, labels) for one in comparison["rows"]],
        "baseline": comparison.get("baseline", ""),
        "notes": comparison.get("notes", []),
    }


def _row(
    row: Mapping[str, Any], columns: Sequence[str], cold: Sequence[str], labels: Mapping[str, str]
) -> dict[str, Any]:
    # A row is named by the number of its run where one run is a row.
    name = str(row["name"])
    number = name.removeprefix("run ")
    return {
        "name": name,
        "run": int(number) if number in labels else None,
        "label": labels.get(number, ""),
        "model": row.get("model") or "",
        "cells": [
            *(_cell(row["metrics"][column]) for column in columns),
            *(_cell((row.get("cold") or {}).get(column, _UNKNOWN)) for column in cold),
        ],
    }


def _cell(metric: Mapping[str, Any]) -> dict[str, Any]:
    difference = metric.get("difference")
    return {
        "value": metric["mean"],
        "is_best": bool(metric.get("is_best")),
        "is_significant": bool(metric.get("is_significant")),
        "difference": None if difference is None else difference.get("mean"),
    }
