"""``crossan-train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from crossan.cache_schema.errors import UsageError
from crossan.common.cluster.options import Address, Engine, GpusPerWorker, Workers
from crossan.common.console import (
    AsJson,
    Device,
    explains_options,
    note,
    print_json,
    run_command,
)
from crossan.common.stores.options import CacheFolder
from crossan.train.cli.of_runs import of_runs
from crossan.train.cli.refitting import require_refit_alone, train_and_refit
from crossan.train.evaluation.printing import print_refit, print_result
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
    explain_setting,
    modalities,
)
from crossan.train.options.training import (
    AllowOtherSpec,
    AllowUnread,
    Assignments,
    BatchSize,
    Compared,
    Epochs,
    InitFrom,
    LearningRate,
    Log,
    MaxItems,
    Model,
    NoRecording,
    OfRuns,
    OutFolder,
    Patience,
    PredictMemory,
    RecipeName,
    Reference,
    Refit,
    RefitInit,
    Resume,
    Seed,
    Stores,
    ValidationOnly,
)

if TYPE_CHECKING:
    from crossan.common.cluster import ClusterRequest
    from crossan.train.recipes import Recipe
    from crossan.train.runs.launch import Launch
    from crossan.train.settings import RunSettings

__all__ = ["main", "train"]


@explains_options(explain_setting)
def train(
    out: OutFolder,
    dataset: DatasetFolder = None,
    cache: CacheFolder = None,
    modality: Modalities = None,
    model: Model = None,
    of: OfRuns = None,
    store: Stores = None,
    drop_items: DropItems = False,
    allow_stale: AllowStale = False,
    compared: Compared = None,
    init: InitFrom = None,
    resume: Resume = False,
    allow_other_spec: AllowOtherSpec = False,
    allow_unread: AllowUnread = False,
    is_validation_only: ValidationOnly = False,
    refit: Refit = None,
    refit_init: RefitInit = None,
    recipe: RecipeName = None,
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
    predict_memory: PredictMemory = False,
    is_unrecorded: NoRecording = False,
    engine: Engine = "local",
    address: Address = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    log: Log = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on a dataset and rank the whole catalogue.

    Examples
    --------
    crossan-train --dataset data --cache cache --out runs/first
    crossan-train --dataset data --cache cache --out runs/first --resume
    crossan-train --out runs/first --resume --refit all
    crossan-train --model hybrid --of runs/first,runs/second --out runs/hybrid
    crossan-train --recipe table3/50k-TIVA --dataset data --cache cache --out runs/tiva
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
    is_alone = cluster is None and not is_validation_only
    require_refit_alone(out, refit, refit_init, is_alone=is_alone)
    with joined(device) as process:
        from crossan.train.features import Placement
        from crossan.train.loop.choosing import recorder_of, repeater_of
        from crossan.train.recipes.catalogue import find_recipe
        from crossan.train.recipes.judging import conclude
        from crossan.train.recipes.running import Request, settings_of
        from crossan.train.runs.curves import require_installed
        from crossan.train.runs.launch import Launch

        require_installed(log or ())
        configs = config or []
        if refit is not None and resume and (out / "config.toml").is_file():
            configs = [out / "config.toml", *configs]  # those of the run that is refitted
        named = None if recipe is None else find_recipe(recipe)
        bases = of_runs(of, flags)
        settings = settings_of(named, Request(flags, configs, assignments or [], bases))
        launch = Launch(
            device=process.device,
            placement=Placement.parse(residence, max_ram, max_device_memory),
            ranks=process.ranks,
            predicts_memory=predict_memory,
            may_resume=resume,
            may_differ=allow_other_spec,
            may_be_stale=allow_stale,
            may_have_unread=allow_unread,
            logs=tuple(dict.fromkeys(log or ())),
            recorder_of=repeater_of if is_unrecorded else recorder_of,
            compared=compared,
        )
        refitted = None
        if refit is not None:
            result, refitted = train_and_refit(settings, out, launch, named, (refit, refit_init))
        elif is_validation_only:
            result = _train_without_test(settings, out, launch, named)
        else:
            result = _train(settings, out, launch, named, cluster)
        if not process.ranks.is_first:
            return
    record = None if is_validation_only else conclude(out, result)
    more = {"recipe": record, "refit": refitted}
    _print(
        {**result, **{name: value for name, value in more.items() if value is not None}},
        out,
        as_json=as_json,
    )


def _train(
    settings: RunSettings,
    out: Path,
    launch: Launch,
    recipe: Recipe | None,
    cluster: ClusterRequest | None,
) -> dict[str, Any]:
    """Return the result of a run, trained on a cluster or by the processes of the launch."""
    if cluster is not None:
        from crossan.train.cluster.engine import train_on_cluster

        return train_on_cluster(settings, out, cluster, launch)
    from crossan.train.recipes.judging import following
    from crossan.train.runs import training
    from crossan.train.runs.planning import claim, plan_run

    plan = plan_run(settings, out, launch)
    with claim(plan), following(recipe, out, launch.ranks):
        return training.train(plan)


def _train_without_test(
    settings: RunSettings, out: Path, launch: Launch, recipe: Recipe | None
) -> dict[str, Any]:
    """Return the validation figures of a run."""
    from crossan.train.recipes.judging import following
    from crossan.train.runs import training
    from crossan.train.runs.planning import claim, plan_run

    # Nothing else keeps the plan with the test part, so nothing below can reach it.
    seen = plan_run(settings, out, launch).without_test()
    with claim(seen), following(recipe, out, launch.ranks):
        return training.train_without_test(seen)


def _print(result: dict[str, Any], out: Path, *, as_json: bool) -> None:
    """Print a result, the verdict of its recipe in it, and what its refit is."""
    if as_json:
        print_json(result)
        return
    from crossan.train.recipes.printing import print_verdict

    print_result({name: value for name, value in result.items() if name != "refit"})
    if "recipe" in result:
        print_verdict(result["recipe"])
    if "refit" in result:
        print_refit(result["refit"])
    note(f"run folder: {out}")


def main() -> NoReturn:
    """Run ``crossan-train``."""
    from crossan.train.ranks.joining import silent_unless_first

    with silent_unless_first():
        run_command(train, "crossan-train")
