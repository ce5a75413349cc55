"""What a run has left on disk so far: its epochs, its log, its heartbeat."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Epoch", "Progress", "heartbeat_time", "log_tail", "progress_of", "read_curve"]

_MOST_CURVE_BYTES = 4 << 20
_TAIL_BYTES = 32 << 10
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROL = {code: None for code in [*range(0x20), *range(0x7F, 0xA0)] if code != 0x09}


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of ``metrics.jsonl``."""

    number: int
    loss: float | None
    valid: Mapping[str, float]
    is_best: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training has come."""

    epoch: int
    most_epochs: int | None
    best_epoch: int | None
    best_value: float | None
    """Validation NDCG@10 of the best epoch."""


def read_curve(run_folder: Path) -> list[Epoch]:
    """Return the epochs that a training has finished, without a torn or strange line.

    Parameters
    ----------
    run_folder
        The folder that ``crossan-train`` writes; it may not be there yet.
    """
    epochs: list[Epoch] = []
    try:
        with (run_folder / "metrics.jsonl").open("rb") as lines:
            text = lines.read(_MOST_CURVE_BYTES)
    except OSError:
        return []
    for line in text.splitlines():
        try:
            value = json.loads(line)
            epochs.append(_epoch(value))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return epochs


def progress_of(curve: list[Epoch], settings: Mapping[str, Any]) -> Progress | None:
    """Return how far a training has come, None before its first epoch ended.

    Parameters
    ----------
    curve
        Its epochs so far.
    settings
        Those of its spec.
    """
    if not curve:
        return None
    best = next((one for one in reversed(curve) if one.is_best), None)
    most = settings.get("max_epochs")
    return Progress(
        epoch=curve[-1].number,
        most_epochs=most if isinstance(most, int) and not isinstance(most, bool) else None,
        best_epoch=None if best is None else best.number,
        best_value=None if best is None else best.valid.get("ndcg@10"),
    )


def log_tail(log: Path, lines: int) -> list[str]:
    """Return the last lines of a log as a page shows them.

    Colours and control characters are left out; of a line that was drawn over, the last drawing
    stays.

    Parameters
    ----------
    log
        It may not be there yet.
    lines
        Lines at most.
    """
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - _TAIL_BYTES, 0))
            tail = file.read(_TAIL_BYTES)
    except OSError:
        return []
    text = tail.decode("utf-8", "replace")
    return [_shown(line) for line in text.split("\n") if line.strip()][-lines:]


def heartbeat_time(attempt_folder: Path) -> float | None:
    """Return when an attempt last said that it works, None where it never has."""
    try:
        return (attempt_folder / "heartbeat").stat().st_mtime
    except OSError:
        return None


def _epoch(value: Mapping[str, Any]) -> Epoch:
    loss = value.get("loss")
    valid = {
        name: float(number)
        for name, number in value.get("valid", {}).items()
        if isinstance(number, int | float)
    }
    return Epoch(
        number=int(value["epoch"]),
        loss=float(loss) if isinstance(loss, int | float) else None,
        valid=valid,
        is_best=bool(value.get("is_best")),
    )


def _shown(line: str) -> str:
    drawn = [part for part in _COLOURS.sub("", line).split("\r") if part.strip()]
    return (drawn[-1] if drawn else "").translate(_CONTROL).rstrip()
