"""A comparison for programs: the JSON object of docs/cli.md, and a CSV of the same."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from crossan.train.comparison.measuring import Cell, ComparedRow, Comparison, Spread

__all__ = ["CSV_BEGINS", "JSON_BEGINS", "as_csv", "as_json", "json_text"]

JSON_BEGINS = '{\n  "compared_on": '
_CSV_COLUMNS = (
    "row", "compared_on", "metric", "mean", "sd", "seeds", "interval_low", "interval_high",
    "is_best", "is_significant", "baseline", "difference", "difference_low", "difference_high",
    "t_p", "t_p_holm", "wilcoxon_p", "wilcoxon_p_holm", "effect_size", "model",
    "trainable_parameters", "epochs", "seconds_per_epoch", "users", "items", "targets",
    "cold_targets", "unwinnable_targets", "split", "split_seed", "mask_history", "level", "marks",
)  # fmt: skip
CSV_BEGINS = "row,compared_on,metric,"


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the object of ``crossan compare --json``."""
    return {
        "compared_on": comparison.part,
        "protocol": {
            "split": comparison.split,
            "split_seed": comparison.split_seed,
            "mask_history": comparison.mask_history,
            "users": comparison.users,
            "items": comparison.items,
        },
        "targets": comparison.targets,
        "cold_targets": comparison.cold_targets,
        "unwinnable_targets": comparison.unwinnable_targets,
        "baseline": comparison.baseline,
        "level": comparison.level,
        "seed": comparison.seed,
        "rows": [_row(row) for row in comparison.rows],
        "notes": list(comparison.notes),
    }


def json_text(comparison: Comparison) -> str:
    """Return the object as the text of a file."""
    return json.dumps(as_json(comparison), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(comparison: Comparison) -> str:
    """Return a line for each row and metric, cold ones among them, under one header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in comparison.rows:
        writer.writerows(_csv_lines(comparison, row))
    return text.getvalue()


def _row(row: ComparedRow) -> dict[str, Any]:
    cold = row.cold
    return {
        "name": row.row.name,
        "model": row.row.model,
        "runs": [str(run.path) for run in row.row.runs],
        "seeds": row.row.seeds,
        "metrics": {metric: _cell(cell) for metric, cell in row.cells.items()},
        "cold": None if cold is None else {name: _spread(one) for name, one in cold.items()},
        "trainable_parameters": row.trainable_parameters,
        "epochs": row.epochs,
        "seconds_per_epoch": row.seconds_per_epoch,
        "marks": list(row.marks),
    }


def _spread(spread: Spread) -> dict[str, float | None]:
    return {"mean": spread.mean, "sd": spread.sd}


def _cell(cell: Cell) -> dict[str, Any]:
    difference = cell.difference
    return {
        **_spread(cell.spread),
        "interval": None if cell.interval is None else list(cell.interval),
        "is_best": cell.is_best,
        "is_significant": cell.is_significant,
        "difference": None
        if difference is None
        else {
            "mean": difference.paired.difference,
            "interval": list(difference.paired.interval),
            "t_p": difference.paired.t_p,
            "t_p_holm": difference.t_p_holm,
            "wilcoxon_p": difference.paired.wilcoxon_p,
            "wilcoxon_p_holm": difference.wilcoxon_p_holm,
            "effect_size": difference.paired.effect_size,
        },
    }


def _csv_lines(comparison: Comparison, row: ComparedRow) -> Iterator[dict[str, Any]]:
    shared = {
        "row": row.row.name,
        "compared_on": comparison.part,
        "seeds": " ".join(map(str, row.row.seeds)),
        "model": row.row.model,
        "trainable_parameters": row.trainable_parameters,
        "epochs": row.epochs,
        "seconds_per_epoch": row.seconds_per_epoch,
        "users": comparison.users,
        "items": comparison.items,
        "targets": comparison.targets,
        "cold_targets": comparison.cold_targets,
        "unwinnable_targets": comparison.unwinnable_targets,
        "split": comparison.split,
        "split_seed": comparison.split_seed,
        "mask_history": comparison.mask_history,
        "level": comparison.level,
        "marks": "; ".join(row.marks),
    }
    for metric, cell in row.cells.items():
        yield {**shared, "metric": metric, **_csv_cell(cell, comparison.baseline)}
    for name, spread in (row.cold or {}).items():
        yield {**shared, "metric": f"cold {name}", **_spread(spread)}


def _csv_cell(cell: Cell, baseline: str) -> dict[str, Any]:
    """Return the columns of a cell; a column that it does not have stays empty."""
    columns: dict[str, Any] = {
        **_spread(cell.spread),
        "is_best": int(cell.is_best),
        "is_significant": int(cell.is_significant),
    }
    if cell.interval is not None:
        columns |= {"interval_low": cell.interval[0], "interval_high": cell.interval[1]}
    if cell.difference is not None:
        paired = cell.difference.paired
        columns |= {
            "baseline": baseline,
            "difference": paired.difference,
            "difference_low": paired.interval[0],
            "difference_high": paired.interval[1],
            "t_p": paired.t_p,
            "t_p_holm": cell.difference.t_p_holm,
            "wilcoxon_p": paired.wilcoxon_p,
            "wilcoxon_p_holm": cell.difference.wilcoxon_p_holm,
            "effect_size": paired.effect_size,
        }
    return columns
