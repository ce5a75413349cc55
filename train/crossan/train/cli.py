"""``crossan-train``, ``crossan evaluate`` and ``crossan recommend``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import note, print_json, run_command

if TYPE_CHECKING:
    from crossan.train.settings import RunSettings

__all__ = ["evaluate", "main", "modalities", "recommend", "run_settings", "train"]

_HISTORY_MASKS = ("all", "unseen-only", "none")

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
_Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]
_Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]
_Residence = Annotated[
    str,
    typer.Option(
        "--residence", help="Where hidden states are kept: device, host (RAM), streamed (in their stores), auto."
    ),
]
_MaxRam = Annotated[
    str | None,
    typer.Option(
        "--max-ram", metavar="SIZE", help="RAM for features, for example 8GiB; default: most of what is free."
    ),
]
_MaxDeviceMemory = Annotated[
    str | None, typer.Option("--max-device-memory", metavar="SIZE", help="The same of an accelerator's memory.")
]
_Mask = Annotated[
    str | None,
    typer.Option("--mask-history", help="Items before the target left out of the ranking: all, unseen-only, none."),
]


def train(
    out: Annotated[Path, typer.Option("--out", help="Run folder to write.")],
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", envvar="CROSSAN_DATASET", help="Dataset folder; default: the current folder."),
    ] = None,
    cache: Annotated[str | None, typer.Option("--cache", envvar="CROSSAN_CACHE", help="Folder of stores.")] = None,
    modality: Annotated[
        str | None, typer.Option("--modality", help="For example text,image; default: all that the cache holds.")
    ] = None,
    store: Annotated[
        list[str] | None,
        typer.Option("--store", help="Store folder, where there are several of one modality; repeatable."),
    ] = None,
    drop_items: Annotated[bool, typer.Option("--drop-items", help="Leave out items the stores cannot serve.")] = False,
    config: Annotated[
        list[Path] | None, typer.Option("--config", help="TOML file of settings; repeatable, later ones win.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting, for example model.top_k=3; repeatable."),
    ] = None,
    max_items: Annotated[
        int | None, typer.Option("--max-items", help="Items kept per user, the last ones [13].")
    ] = None,
    mask_history: _Mask = None,
    init: Annotated[
        Path | None, typer.Option("--init", metavar="RUN", help="Begin with the best weights of this run.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of weights, order and dropout [0].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out where there is one.")] = False,
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
            "--validation-only", help="Never look at test targets; the same command with --resume, without it, does."
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
            "--workers", min=1, help="Ranks on the cluster; default one for each GPU asked for, or each node."
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option("--gpus-per-worker", min=0, help="1 for ranks with an accelerator each.")
    ] = None,
    device: _Device = "auto",
    residence: _Residence = "auto",
    max_ram: _MaxRam = None,
    max_device_memory: _MaxDeviceMemory = None,
    is_json: _Json = False,
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
        how: dict[str, Any] = {"may_resume": resume, "may_differ": allow_other_spec, "placement": placement}
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
        _show(result)
        note(f"run folder: {out}")


def evaluate(
    run: _Run,
    mask_history: _Mask = None,
    permute_features: Annotated[
        int | None,
        typer.Option(
            "--permute-features", metavar="SEED", min=0, help="Shuffle features between items: what content is worth."
        ),
    ] = None,
    device: _Device = "auto",
    residence: _Residence = "auto",
    max_ram: _MaxRam = None,
    max_device_memory: _MaxDeviceMemory = None,
    is_json: _Json = False,
) -> None:
    """Rank a run's validation and test targets again, with the weights of its best epoch."""
    from crossan.train.features import Placement
    from crossan.train.runs.opening import open_run
    from crossan.train.runs.training import evaluate_run

    if mask_history is not None and mask_history not in _HISTORY_MASKS:
        raise UsageError(f"--mask-history {mask_history}: expected {', '.join(_HISTORY_MASKS)}")
    placement = Placement.parse(residence, max_ram, max_device_memory)
    opened = open_run(run, device=device, permute_seed=permute_features, placement=placement)
    result = evaluate_run(opened, mask_history or opened.settings.mask_history)  # type: ignore[arg-type]
    result["permute_features"] = permute_features
    if is_json:
        print_json(result)
    else:
        _show(result)


def recommend(
    run: _Run,
    user: Annotated[str | None, typer.Option("--user", help="A user of the dataset.")] = None,
    history: Annotated[str | None, typer.Option("--history", metavar="A,B,C", help="Item ids, oldest first.")] = None,
    top: Annotated[int, typer.Option("--top", help="How many items.", min=1)] = 10,
    device: _Device = "auto",
    residence: _Residence = "auto",
    max_ram: _MaxRam = None,
    max_device_memory: _MaxDeviceMemory = None,
    is_json: _Json = False,
) -> None:
    """Print the items a run would show next to a user, or after a history."""
    if (user is None) == (history is None):
        raise UsageError("recommend: expected one of --user and --history")

    from crossan.train.features import Placement
    from crossan.train.runs.opening import open_run
    from crossan.train.runs.recommend import history_of_items, history_of_user, recommend_items

    opened = open_run(run, device=device, placement=Placement.parse(residence, max_ram, max_device_memory))
    rows = history_of_user(opened, user) if user is not None else history_of_items(opened, history or "")
    items = recommend_items(opened, rows, top)
    if is_json:
        print_json({"user": user, "items": items})
        return
    for place, item in enumerate(items, 1):
        print(f"{place:>3}  {item['score']:>9.4f}  {item['item_id']:<14} {item['title'] or '(no title)'}")


def main() -> NoReturn:
    """Run ``crossan-train``."""
    from crossan.train.ranks.joining import silent_unless_first

    with silent_unless_first():
        run_command(train, "crossan-train")


def run_settings(flags: Mapping[str, Any], config: Sequence[Path], assignments: Sequence[str]) -> RunSettings:
    """Return the settings that a command line asks for.

    Parameters
    ----------
    flags
        Values of other flags by the dotted name of their setting, ``data.dataset`` among them; None where one was not
        given.
    config, assignments
        What ``--config`` and ``--set`` gave.

    Raises
    ------
    UsageError
        A setting is wrong.
    """
    from crossan.common.config import load_settings
    from crossan.train.settings import RunSettings

    given = [f"{key}={json.dumps(value)}" for key, value in flags.items() if value is not None]
    if not config and flags["data.dataset"] is None:
        given.append(f"data.dataset={json.dumps(str(Path.cwd()))}")
    return load_settings(RunSettings, files=config, assignments=[*given, *assignments])


def modalities(text: str | None) -> list[str] | None:
    """Return the modalities that ``--modality`` names, in their order; None for all that the cache holds.

    Raises
    ------
    UsageError
        There is no such modality.
    """
    if text is None or text == "all":
        return None
    names = [name.strip() for name in text.split(",")]
    known = [modality.value for modality in Modality]
    wrong = [name for name in names if name not in known]
    if wrong:
        raise UsageError(f"--modality {text}: expected {', '.join(known)} or all, got '{wrong[0]}'")
    return [name for name in known if name in names]


def _show(result: dict[str, Any]) -> None:
    columns = ("hr@10", "hr@20", "ndcg@10", "ndcg@20", "mrr@10")
    print(f"{'':<18}" + "".join(f"{name.upper():>10}" for name in columns))
    rows = [("valid", "CROSSAN", result["valid"])]
    if "test" in result:
        popularity = [(split, "popularity", result["popularity"][split]) for split in ("valid", "test")]
        rows += [popularity[0], ("test", "CROSSAN", result["test"]), popularity[1]]
    for split, who, metrics in rows:
        print(f"{split:<6}{who:<12}" + "".join(f"{metrics[name]:>10.4f}" for name in columns))
    if "test" not in result:
        return
    cold, users = result["cold_test"], result["users"]
    print(f"cold targets: {cold['targets']:,} of {users:,}, HR@10 {cold['hr@10']:.4f}, NDCG@10 {cold['ndcg@10']:.4f}")
    shown = result["recommendations"]
    print(
        f"lists of {shown['top']}: {shown['coverage']:.1%} of the catalogue, Gini {shown['gini']:.2f}, mean popularity"
        f" {shown['mean_popularity']:.1f} against {shown['history_mean_popularity']:.1f} of the histories"
    )
    print(
        f"ranked over all {result['items']:,} items, history masked: {result['mask_history']};"
        f" unwinnable test targets {result['unwinnable_test_targets']:,} ({result['unwinnable_test_targets'] / users:.1%})"
    )
