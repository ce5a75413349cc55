"""``crossan-train``, ``crossan evaluate`` and ``crossan recommend``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from crossan.cache_schema.errors import UsageError
from crossan.common.console import note, print_json, run_command
from crossan.train.evaluation.printing import print_result
from crossan.train.options import (
    HISTORY_MASKS,
    AsJson,
    Device,
    MaskHistory,
    MaxDeviceMemory,
    MaxRam,
    Residence,
    RunArgument,
    modalities,
    run_settings,
)

__all__ = ["evaluate", "main", "recommend", "train"]


def train(
    out: Annotated[Path, typer.Option("--out", help="Run folder to write.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            envvar="CROSSAN_DATASET",
            help="Dataset folder; default: the current folder.",
        ),
    ] = None,
    cache: Annotated[
        str | None, typer.Option("--cache", envvar="CROSSAN_CACHE", help="Folder of stores.")
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            "--modality", help="For example text,image; default: all that the cache holds."
        ),
    ] = None,
    store: Annotated[
        list[str] | None,
        typer.Option(
            "--store", help="Store folder, where there are several of one modality; repeatable."
        ),
    ] = None,
    drop_items: Annotated[
        bool, typer.Option("--drop-items", help="Leave out items the stores cannot serve.")
    ] = False,
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", help="TOML file of settings; repeatable, later ones win."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="One setting, for example model.top_k=3; repeatable."
        ),
    ] = None,
    max_items: Annotated[
        int | None, typer.Option("--max-items", help="Items kept per user, the last ones [13].")
    ] = None,
    mask_history: MaskHistory = None,
    init: Annotated[
        Path | None,
        typer.Option("--init", metavar="RUN", help="Begin with the best weights of this run."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of weights, order and dropout [0].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out where there is one.")
    ] = False,
    allow_other_spec: Annotated[
        bool,
        typer.Option(
            "--allow-other-spec",
            help="Resume where threads, device or library versions are others; the numbers will be, too.",
        ),
    ] = False,
    is_validation_only: Annotated[
        bool,
        typer.Option(
            "--validation-only",
            help="Never look at test targets; the same command with --resume, without it, does.",
        ),
    ] = False,
    is_reference: Annotated[
        bool, typer.Option("--reference", help="Train by the slow, plain step, to compare with.")
    ] = False,
    engine: Annotated[
        str, typer.Option("--engine", help="local, or ray: ranks on the workers of a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="Ray cluster: local (started for this run), auto (this machine's), HOST:PORT; default RAY_ADDRESS or local.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Ranks on the cluster; default one for each GPU asked for, or each node.",
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option("--gpus-per-worker", min=0, help="1 for ranks with an accelerator each."),
    ] = None,
    device: Device = "auto",
    residence: Residence = "auto",
    max_ram: MaxRam = None,
    max_device_memory: MaxDeviceMemory = None,
    is_json: AsJson = False,
) -> None:
    """Train CROSSAN on a dataset's feature stores and rank the whole catalogue."""
    from crossan.common.cluster import parse_engine
    from crossan.train.ranks.joining import joined

    cluster = parse_engine(engine, address, workers, gpus_per_worker)
    flags = {
        "data.dataset": dataset,
        "data.cache": cache,
        "data.modality": modalities(modality),
        "data.store": store or None,
        "data.drop_items": drop_items or None,
        "data.max_items": max_items,
        "mask_history": mask_history,
        "init": None if init is None else str(init.absolute()),
        "seed": seed,
        "reference": is_reference or None,
    }
    if cluster is not None and is_validation_only:
        raise UsageError("--validation-only: expected one process or torchrun, got --engine ray")
    with joined(device) as place:
        from crossan.train.features import Placement
        from crossan.train.runs.training import train_run
        from crossan.train.runs.validation_only import train_without_test

        settings = run_settings(flags, config or [], assignments or [])
        placement = Placement.parse(residence, max_ram, max_device_memory)
        how: dict[str, Any] = {
            "may_resume": resume,
            "may_differ": allow_other_spec,
            "placement": placement,
        }
        if cluster is None:
            train_it = train_without_test if is_validation_only else train_run
            result = train_it(settings, out, **how, device=place.device, ranks=place.ranks)
        else:
            from crossan.train.cluster.engine import train_on_cluster

            result = train_on_cluster(settings, out, cluster, **how, device=device)
        if not place.ranks.is_first:
            return
    if is_json:
        print_json(result)
    else:
        print_result(result)
        note(f"run folder: {out}")


def evaluate(
    run: RunArgument,
    mask_history: MaskHistory = None,
    permute_features: Annotated[
        int | None,
        typer.Option(
            "--permute-features",
            metavar="SEED",
            min=0,
            help="Shuffle features between items: what content is worth.",
        ),
    ] = None,
    device: Device = "auto",
    residence: Residence = "auto",
    max_ram: MaxRam = None,
    max_device_memory: MaxDeviceMemory = None,
    is_json: AsJson = False,
) -> None:
    """Rank a run's validation and test targets again, with the weights of its best epoch."""
    from crossan.train.features import Placement
    from crossan.train.runs.opening import open_run
    from crossan.train.runs.training import evaluate_run

    if mask_history is not None and mask_history not in HISTORY_MASKS:
        raise UsageError(f"--mask-history {mask_history}: expected {', '.join(HISTORY_MASKS)}")
    placement = Placement.parse(residence, max_ram, max_device_memory)
    opened = open_run(run, device=device, permute_seed=permute_features, placement=placement)
    result = evaluate_run(opened, mask_history or opened.settings.mask_history)  # type: ignore[arg-type]
    result["permute_features"] = permute_features
    if is_json:
        print_json(result)
    else:
        print_result(result)


def recommend(
    run: RunArgument,
    user: Annotated[str | None, typer.Option("--user", help="A user of the dataset.")] = None,
    history: Annotated[
        str | None, typer.Option("--history", metavar="A,B,C", help="Item ids, oldest first.")
    ] = None,
    top: Annotated[int, typer.Option("--top", help="How many items.", min=1)] = 10,
    device: Device = "auto",
    residence: Residence = "auto",
    max_ram: MaxRam = None,
    max_device_memory: MaxDeviceMemory = None,
    is_json: AsJson = False,
) -> None:
    """Print the items a run would show next to a user, or after a history."""
    if (user is None) == (history is None):
        raise UsageError("recommend: expected one of --user and --history")

    from crossan.train.features import Placement
    from crossan.train.runs.opening import open_run
    from crossan.train.runs.recommend import history_of_items, history_of_user, recommend_items

    opened = open_run(
        run, device=device, placement=Placement.parse(residence, max_ram, max_device_memory)
    )
    rows = (
        history_of_user(opened, user)
        if user is not None
        else history_of_items(opened, history or "")
    )
    items = recommend_items(opened, rows, top)
    if is_json:
        print_json({"user": user, "items": items})
        return
    for place, item in enumerate(items, 1):
        print(
            f"{place:>3}  {item['score']:>9.4f}  {item['item_id']:<14} {item['title'] or '(no title)'}"
        )


def main() -> NoReturn:
    """Run ``crossan-train``."""
    from crossan.train.ranks.joining import silent_unless_first

    with silent_unless_first():
        run_command(train, "crossan-train")
