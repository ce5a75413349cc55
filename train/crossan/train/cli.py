"""``crossan-train``, ``crossan evaluate`` and ``crossan recommend``."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from crossan.cache_schema.errors import UsageError
from crossan.common.cluster.options import Address, Engine, GpusPerWorker, Workers
from crossan.common.console import (
    AsJson,
    Column,
    Device,
    Panel,
    explains_options,
    note,
    print_json,
    print_table,
    run_command,
)
from crossan.common.stores.options import CacheFolder
from crossan.train.evaluation.printing import print_result
from crossan.train.options import (
    AllowStale,
    Config,
    DatasetFolder,
    DropItems,
    MaskHistory,
    MaxDeviceMemory,
    MaxRam,
    Modalities,
    Residence,
    RunArgument,
    RunCache,
    RunDataset,
    explain_setting,
    modalities,
    run_settings,
)
from crossan.train.options.training import (
    AllowOtherSpec,
    Assignments,
    BatchSize,
    Compared,
    Epochs,
    InitFrom,
    LearningRate,
    MaxItems,
    Model,
    OutFolder,
    Patience,
    Reference,
    Resume,
    Seed,
    Stores,
    ValidationOnly,
)

__all__ = ["evaluate", "main", "recommend", "train"]


@explains_options(explain_setting)
def train(
    out: OutFolder,
    dataset: DatasetFolder = None,
    cache: CacheFolder = None,
    modality: Modalities = None,
    model: Model = None,
    store: Stores = None,
    drop_items: DropItems = False,
    allow_stale: AllowStale = False,
    compared: Compared = None,
    init: InitFrom = None,
    resume: Resume = False,
    allow_other_spec: AllowOtherSpec = False,
    is_validation_only: ValidationOnly = False,
    config: Config = None,
    assignments: Assignments = None,
    max_items: MaxItems = None,
    mask_history: MaskHistory = None,
    lr: LearningRate = None,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    patience: Patience = None,
    seed: Seed = None,
    is_reference: Reference = False,
    device: Device = "auto",
    residence: Residence = "auto",
    max_ram: MaxRam = None,
    max_device_memory: MaxDeviceMemory = None,
    engine: Engine = "local",
    address: Address = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on a dataset and rank the whole catalogue.

    Examples
    --------
    crossan-train --dataset data --cache cache --out runs/first
    crossan-train --dataset data --cache cache --out runs/first --resume
    """
    from crossan.common.cluster import parse_engine
    from crossan.train.ranks.joining import joined

    cluster = parse_engine(engine, address, workers, gpus_per_worker)
    flags = {
        "--dataset": dataset,
        "--cache": None if cache is None else str(cache),
        "--modality": modalities(modality),
        "--store": store or None,
        "--drop-items": drop_items or None,
        "--model": model,
        "--max-items": max_items,
        "--mask-history": mask_history,
        "--init": None if init is None else str(init.absolute()),
        "--lr": lr,
        "--batch-size": batch_size,
        "--epochs": epochs,
        "--patience": patience,
        "--seed": seed,
        "--reference": is_reference or None,
    }
    if cluster is not None and is_validation_only:
        raise UsageError("--validation-only: expected one process or torchrun, got --engine ray")
    with joined(device) as process:
        from crossan.train.features import Placement
        from crossan.train.runs import training
        from crossan.train.runs.launch import Launch
        from crossan.train.runs.planning import claim, plan_run

        settings = run_settings(flags, config or [], assignments or [])
        launch = Launch(
            device=process.device,
            placement=Placement.parse(residence, max_ram, max_device_memory),
            ranks=process.ranks,
            may_resume=resume,
            may_differ=allow_other_spec,
            may_be_stale=allow_stale,
            compared=compared,
        )
        if cluster is not None:
            from crossan.train.cluster.engine import train_on_cluster

            result = train_on_cluster(settings, out, cluster, launch)
        elif is_validation_only:
            # Nothing else keeps the plan with the test part, so nothing below can reach it.
            seen = plan_run(settings, out, launch).without_test()
            with claim(seen):
                result = training.train_without_test(seen)
        else:
            plan = plan_run(settings, out, launch)
            with claim(plan):
                result = training.train(plan)
        if not process.ranks.is_first:
            return
    if as_json:
        print_json(result)
    else:
        print_result(result)
        note(f"run folder: {out}")


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
    from crossan.train.runs.opening import open_run
    from crossan.train.runs.training import evaluate_run

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


def recommend(
    run: RunArgument,
    dataset: RunDataset = None,
    cache: RunCache = None,
    user: Annotated[
        str | None,
        typer.Option("--user", help="A user of the dataset.", rich_help_panel=Panel.WHAT),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            "--history",
            metavar="A,B,C",
            help="Item ids, oldest first, instead of --user.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option("--top", help="How many items.", min=1, rich_help_panel=Panel.WHAT),
    ] = 10,
    allow_stale: AllowStale = False,
    device: Device = "auto",
    residence: Residence = "auto",
    max_ram: MaxRam = None,
    max_device_memory: MaxDeviceMemory = None,
    as_json: AsJson = False,
) -> None:
    """Print the items a run would show next to a user, or after a history.

    Examples
    --------
    crossan recommend runs/first --user u0001 --top 5
    """
    if (user is None) == (history is None):
        raise UsageError("recommend: expected one of --user and --history")

    from crossan.train.features import Placement
    from crossan.train.runs.contents import counts_of
    from crossan.train.runs.opening import open_run
    from crossan.train.runs.recommend import history_of_items, history_of_user, recommend_items

    opened = open_run(
        run,
        device=device,
        placement=Placement.parse(residence, max_ram, max_device_memory),
        may_be_stale=allow_stale,
        dataset=dataset,
        cache=cache,
    )
    rows = (
        history_of_user(opened, user)
        if user is not None
        else history_of_items(opened, history or "")
    )
    items = recommend_items(opened, rows, top)
    if as_json:
        print_json({"user": user, "items": items, "contents": counts_of(opened.verdicts)})
        return
    print_table(
        [
            Column("rank", is_number=True),
            Column("score", is_number=True),
            Column("item"),
            Column("title"),
        ],
        [
            [str(rank), f"{item['score']:.4f}", item["item_id"], item["title"] or "(no title)"]
            for rank, item in enumerate(items, 1)
        ],
    )


def main() -> NoReturn:
    """Run ``crossan-train``."""
    from crossan.train.ranks.joining import silent_unless_first

    with silent_unless_first():
        run_command(train, "crossan-train")
