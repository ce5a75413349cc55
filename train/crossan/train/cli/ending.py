"""``crossan train-end``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import AsJson, Panel, print_json, print_text
from crossan.train.options import RunArgument

__all__ = ["train_end"]


def train_end(
    run: RunArgument,
    go_on: Annotated[
        bool,
        typer.Option(
            "--go-on",
            help="Take the request back: crossan-train --resume then trains on.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End a running training early, and have it evaluate its best epoch so far.

    The training sees it within seconds, wherever it runs, finishes the step in hand, or its first
    epoch, writes a checkpoint and its result. That says "stopped_by": "ended". Where nobody trains,
    as after a crash, it does so once it is resumed.

    Examples
    --------
    crossan train-end runs/first
    crossan train-end runs/first --go-on
    """
    from crossan.train.record.ending import (
        END_FILE,
        is_end_requested,
        request_end,
        withdraw_end,
    )
    from crossan.train.record.refits import require_figures
    from crossan.train.record.run_folder import RunFolder

    folder = RunFolder(run)
    require_figures(run, folder.settings())
    # A request that nobody heeds would end a training that is resumed for more epochs.
    is_finished = folder.result() is not None or folder.validation() is not None
    is_training = folder.is_trained_in()
    if go_on:
        withdraw_end(run)
        said = f"{run}/{END_FILE} is withdrawn"
    elif is_finished:
        said = f"{run}: nothing trains there, the run is finished"
    else:
        request_end(run)
        said = f"{run}/{END_FILE} written: {_what_follows(run, is_training=is_training)}"
    if as_json:
        print_json(
            {
                "run": str(run),
                "asks_for_end": is_end_requested(run),
                "is_finished": is_finished,
                "is_training": is_training,
            }
        )
    else:
        print_text(said)


def _what_follows(run: Path, *, is_training: bool) -> str:
    """Return what becomes of a training that was asked to end."""
    if is_training:
        return "the training ends and evaluates its best epoch"
    folder, config = shlex.quote(str(run)), shlex.quote(str(run / "config.toml"))
    return (
        "nobody is training there now, and a training that is resumed ends at once and evaluates"
        f" its best epoch\n  Run: crossan-train --config {config} --out {folder} --resume"
    )
