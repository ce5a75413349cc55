"""``crossan evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import (
    AsJson,
    Device,
    Panel,
    print_json,
)
from crossan.train.evaluation.printing import print_result
from crossan.train.options import (
    AllowStale,
    MaskHistory,
    MaxDeviceMemory,
    MaxRam,
    Residence,
    RunArgument,
    RunCache,
    RunDataset,
)

__all__ = ["evaluate"]


def evaluate(
    run: RunArgument,
    dataset: RunDataset = None,
    cache: RunCache = None,
    mask_history: MaskHistory = None,
    permute_features: Annotated[
        int | None,
        typer.Option(
            "--permute-features",
            metavar="SEED",
            min=0,
            help="Shuffle features between items: what content is worth.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = None,
    epoch: Annotated[
        int | None,
        typer.Option(
            "--epoch",
            metavar="N",
            min=1,
            help="Weights of this epoch instead of the best (checkpoint.keep_epochs).",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Write the figures and every user's ranks there, for crossan compare.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    allow_stale: AllowStale = False,
    device: Device = "auto",
    residence: Residence = "auto",
    max_ram: MaxRam = None,
    max_device_memory: MaxDeviceMemory = None,
    as_json: AsJson = False,
) -> None:
    """Rank a run's validation and test targets again, with the weights of its best epoch.

    Choose an epoch by its validation figures: test figures say nothing once they have chosen.

    Examples
    --------
    crossan evaluate runs/first --mask-history none
    crossan evaluate moved/first --dataset data --cache cache
    crossan evaluate runs/monday --out judged/monday
    crossan evaluate runs/first --epoch 12
    """
    from crossan.train.features import Placement
    from crossan.train.record.evaluations import require_evaluation_place
    from crossan.train.record.reading import read_settings
    from crossan.train.record.refits import require_figures, require_something_unseen
    from crossan.train.runs.evaluating import evaluate_into
    from crossan.train.runs.opening import open_run
    from crossan.train.runs.training import evaluate_run

    # Before anything is loaded: of a refit there is little to say, or nothing.
    settings = read_settings(run)
    require_something_unseen(run, settings)
    if out is not None:
        require_figures(run, settings)
        require_evaluation_place(out)
    placement = Placement.parse(residence, max_ram, max_device_memory)
    opened = open_run(
        run,
        device=device,
        permute_seed=permute_features,
        placement=placement,
        may_be_stale=allow_stale,
        dataset=dataset,
        cache=cache,
        epoch=epoch,
    )
    mask = mask_history or opened.settings.mask_history
    if out is None:
        result = evaluate_run(opened, mask)
        result |= {"permute_features": permute_features, "dataset_changed": opened.is_changed}
        result |= {} if epoch is None else {"epoch": epoch}
    else:
        result = evaluate_into(out, opened, mask, permute_features, epoch)
    if as_json:
        print_json(result)
    else:
        print_result(result)
