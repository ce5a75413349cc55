"""``crossan evaluate``."""

from __future__ import annotations

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
    allow_stale: AllowStale = False,
    device: Device = "auto",
    residence: Residence = "auto",
    max_ram: MaxRam = None,
    max_device_memory: MaxDeviceMemory = None,
    as_json: AsJson = False,
) -> None:
    """Rank a run's validation and test targets again, with the weights of its best epoch.

    Examples
    --------
    crossan evaluate runs/first --mask-history none
    crossan evaluate moved/first --dataset data --cache cache
    """
    from crossan.train.features import Placement
    from crossan.train.record.reading import read_settings
    from crossan.train.record.refits import require_something_unseen
    from crossan.train.runs.opening import open_run
    from crossan.train.runs.training import evaluate_run

    require_something_unseen(run, read_settings(run))  # before anything is loaded
    placement = Placement.parse(residence, max_ram, max_device_memory)
    opened = open_run(
        run,
        device=device,
        permute_seed=permute_features,
        placement=placement,
        may_be_stale=allow_stale,
        dataset=dataset,
        cache=cache,
    )
    result = evaluate_run(opened, mask_history or opened.settings.mask_history)
    result |= {"permute_features": permute_features, "dataset_changed": opened.is_changed}
    if as_json:
        print_json(result)
    else:
        print_result(result)
