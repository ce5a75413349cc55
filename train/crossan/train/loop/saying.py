"""What people, and programs, are told of an epoch."""

from __future__ import annotations

import shlex
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossan.common.console import note
from crossan.train.evaluation.printing import metric_label
from crossan.train.loop.progress import Drop, TrainingProgress
from crossan.train.record.ending import END_FILE
from crossan.train.settings import RunSettings

__all__ = ["say_drop", "say_end", "say_epoch", "times", "usual_seconds"]

_MINUTE, _HOUR = 60, 3600
"""Seconds."""
_RECENT_EPOCHS = 9
"""Epochs that tell how long the next ones take."""


def times(seconds: float) -> dict[str, Any]:
    """Return what a line of ``metrics.jsonl`` says of an epoch that took so long and ends now."""
    # A clock that people set need not agree with the seconds, which were counted without it.
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    return {"seconds": round(seconds, 3), "ended": ended}


def say_epoch(settings: RunSettings, reached: TrainingProgress) -> None:
    """Tell people how the last epoch went, and how long the rest may take."""
    line = reached.metrics[-1]
    valid, figures, best = line["valid"], "", ""
    mean, usual = reached.seconds_per_epoch, usual_seconds(reached)
    if valid is not None:
        hit_ratio = metric_label("hr@10", settings.data.split).lower()
        figures = f" valid {hit_ratio} {valid['hr@10']:.4f} ndcg@10 {valid['ndcg@10']:.4f},"
        best = f" best epoch {reached.best_epoch},"
        end = reached.ends_after(settings)
        if reached.epoch < end < settings.max_epochs:
            rest = in_words((end - reached.epoch) * usual)
            best += f" if nothing improves, ends after epoch {end} (about {rest}),"
    left = in_words((settings.max_epochs - reached.epoch) * usual)
    note(
        f"epoch {reached.epoch}/{settings.max_epochs}: loss {line['loss']:.4f},{figures}"
        f" {line['seconds']:.1f} s ({mean:.1f} s per epoch),{best} at most {left} left"
    )


def usual_seconds(reached: TrainingProgress) -> float:
    """Return how long an epoch takes now, the median of the last ones.

    A mean over all of them would remember for hours that a process was once stopped for one, and
    tell late that the machine has less to do than at the beginning.
    """
    # Older runs did not record the seconds of an epoch; the last one has them in any case.
    lines = [line for line in reached.metrics[-_RECENT_EPOCHS:] if "seconds" in line]
    return float(statistics.median(line["seconds"] for line in lines))


def say_drop(drop: Drop, factor: float) -> None:
    """Tell people that the rates dropped."""
    note(f"learning rates times {factor:g}, going on from the weights of epoch {drop['from']}")


def say_end(reached: TrainingProgress, run: Path) -> None:
    """Tell people that training ends because somebody asked for it."""
    note(
        f"{END_FILE} asks for the end: evaluating epoch {reached.best_epoch},"
        f" the best of {reached.epoch};"
        f" crossan train-end {shlex.quote(str(run))} --go-on lets --resume train on"
    )


def in_words(seconds: float) -> str:
    """Return a time in seconds, minutes or hours, whichever reads best."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"
