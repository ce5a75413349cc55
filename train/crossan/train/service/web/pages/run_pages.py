"""The list of runs, and the page of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossan.train.service.queue.rows import ENDED, RunRow, State
from crossan.train.service.web.pages.attempt_rows import AttemptRow
from crossan.train.service.web.pages.curves import curves_of, draw
from crossan.train.service.web.pages.figures import figure_table
from crossan.train.service.web.pages.rendering import View
from crossan.train.service.web.pages.traces import Epoch, progress_of
from crossan.train.service.web.pages.words import flat

__all__ = ["RunDetails", "run_page", "runs_page"]

_TABLE_COLUMNS = ("ndcg@10", "hr@10", "mrr@10")
_MOST_EPOCHS = 500
"""Epochs in the table beside the curve, the latest ones."""


@dataclass(frozen=True, slots=True)
class RunDetails:
    """All that the page of a run shows beside its row."""

    attempts: Sequence[AttemptRow] = ()
    curve: Sequence[Epoch] = ()
    log: Sequence[str] = ()
    """Last lines of the latest attempt."""
    heartbeat: float | None = None
    version: int | None = None
    """Of the model that was made of it."""


def runs_page(view: View, runs: Sequence[RunRow], state: State | None, last: int | None) -> str:
    """Return the list of runs.

    Parameters
    ----------
    view
        Who looks.
    runs
        The newest first.
    state
        The one that all of them are in, None for any.
    last
        Number of the last one where there are older ones.
    """
    return view.render(
        "runs", runs=runs, states=list(State), chosen="" if state is None else state, last=last
    )


def run_page(view: View, run: RunRow, details: RunDetails) -> str:
    """Return the page of a run."""
    curve = list(details.curve)
    columns = [name for name in _TABLE_COLUMNS if any(name in one.valid for one in curve)]
    epochs = [
        (
            f"epoch {one.number}{', best' if one.is_best else ''}",
            [one.loss, *(one.valid.get(name) for name in columns)],
        )
        for one in reversed(curve[-_MOST_EPOCHS:])
    ]
    return view.render(
        "run",
        run=run,
        is_ended=run.state in ENDED,
        version=details.version,
        heartbeat=details.heartbeat,
        curves=[{"title": one.title, "drawing": draw(one)} for one in curves_of(curve)],
        progress=progress_of(curve, run.spec.get("settings", {})),
        epoch_columns=["loss", *(name.upper() for name in columns)],
        epoch_rows=epochs,
        figures=figure_table(run.result or {}),
        attempts=details.attempts,
        log=details.log,
        spec=flat(run.spec),
    )
