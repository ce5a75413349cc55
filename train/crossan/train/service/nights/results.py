"""What a run's files say of how it ended, as the small JSON that the queue keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.foreign import read_json

__all__ = ["figures_of", "gate_result", "printed_json", "refit_of", "update_result"]

_TAIL_BYTES = 2**20
"""A line of ours is far shorter."""
_FIGURES = (
    "model",
    "users",
    "items",
    "interactions",
    "epochs",
    "best_epoch",
    "stopped_by",
    "drops",
    "valid",
    "test",
    "cold_valid",
    "cold_test",
    "trainable_parameters",
    "seconds_per_epoch",
)
_REFIT = ("refit", "epochs", "users", "items", "interactions")
_UPDATE = ("users", "items", "interactions")


def figures_of(run: Path) -> dict[str, Any]:
    """Return the figures of a run folder, or of what ``crossan evaluate --out`` wrote.

    Raises
    ------
    StoreIntegrityError
        There is no ``result.json``, or it is damaged.
    """
    return _chosen(run / "result.json", _FIGURES)


def refit_of(run: Path) -> dict[str, Any]:
    """Return what a run's refit was trained on; there are no figures of it.

    Raises
    ------
    StoreIntegrityError
        As `figures_of`.
    """
    return _chosen(run / "refit" / "result.json", _REFIT)


def update_result(printed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``crossan data update`` has added, and what the dataset holds now."""
    report = printed.get("report", {})
    return {
        **{name: printed[name] for name in _UPDATE if name in printed},
        "added": {name: int(count) for name, count in report.get("added", {}).items()},
    }


def gate_result(printed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict of ``crossan gate`` without the paths that it compared."""
    return {name: printed[name] for name in printed if name not in {"candidate", "production"}}


def printed_json(
    log: Path, is_it: Callable[[Mapping[str, Any]], bool] = lambda _: True
) -> dict[str, Any] | None:
    """Return the last JSON object that a program printed on a line of its own, None for none.

    Parameters
    ----------
    log
        The log of an attempt.
    is_it
        Whether an object is the one that is looked for.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        if not line.startswith(b"{"):
            continue
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and is_it(value):
            return value
    return None


def _chosen(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    try:
        value = read_json(path, StoreIntegrityError)
    except FileNotFoundError:
        value = None
    if not isinstance(value, dict):
        raise StoreIntegrityError(
            f"{path}: expected the result of the run, found none",
            remedy="Read the log of its last attempt: crossan runs logs",
        )
    return {name: value[name] for name in names if name in value}
