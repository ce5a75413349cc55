"""``crossan train-end``."""

from __future__ import annotations

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
    epoch, writes a checkpoint and its result. That says "stopped_by": "ended".

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
    if go_on:
        withdraw_end(run)
        said = f"{run}/{END_FILE} is withdrawn"
    elif is_finished:
        said = f"{run}: nothing trains there, the run is finished"
    else:
        request_end(run)
        said = f"{run}/{END_FILE} written: the training ends and evaluates its best epoch"
    if as_json:
        asks = is_end_requested(run)
        print_json({"run": str(run), "asks_for_end": asks, "is_finished": is_finished})
    else:
        print_text(said)
