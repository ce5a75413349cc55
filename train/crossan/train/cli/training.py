"""``crossan-train``."""

from __future__ import annotations

from typing import NoReturn

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
    explain_setting,
    modalities,
)
from crossan.train.options.training import (
    AllowOtherSpec,
    Assignments,
    BatchSize,
    Compared,
    Epochs,
    InitFrom,
    LearningRate,
    Log,
    MaxItems,
    Model,
    OutFolder,
    Patience,
    RecipeName,
    Reference,
    Resume,
    Seed,
    Stores,
    ValidationOnly,
)

__all__ = ["main", "train"]


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
    with joined(device) as process:
        from crossan.train.features import Placement
        from crossan.train.recipes.catalogue import find_recipe
        from crossan.train.recipes.judging import conclude, following
        from crossan.train.recipes.printing import print_verdict
        from crossan.train.recipes.running import Request, settings_of
        from crossan.train.runs import training
        from crossan.train.runs.curves import require_installed
        from crossan.train.runs.launch import Launch
        from crossan.train.runs.planning import claim, plan_run

        require_installed(log or ())
        request = Request(flags, config or [], assignments or [])
        named = None if recipe is None else find_recipe(recipe)
        settings = settings_of(named, request)
        launch = Launch(
            device=process.device,
            placement=Placement.parse(residence, max_ram, max_device_memory),
            ranks=process.ranks,
            may_resume=resume,
            may_differ=allow_other_spec,
            may_be_stale=allow_stale,
            logs=tuple(dict.fromkeys(log or ())),
            compared=compared,
        )
        if cluster is not None:
            from crossan.train.cluster.engine import train_on_cluster

            result = train_on_cluster(settings, out, cluster, launch)
        elif is_validation_only:
            # Nothing else keeps the plan with the test part, so nothing below can reach it.
            seen = plan_run(settings, out, launch).without_test()
            with claim(seen), following(named, out, process.ranks):
                result = training.train_without_test(seen)
        else:
            plan = plan_run(settings, out, launch)
            with claim(plan), following(named, out, process.ranks):
                result = training.train(plan)
        if not process.ranks.is_first:
            return
    record = None if is_validation_only else conclude(out, result)
    if as_json:
        print_json(result if record is None else {**result, "recipe": record})
    else:
        print_result(result)
        if record is not None:
            print_verdict(record)
        note(f"run folder: {out}")


def main() -> NoReturn:
    """Run ``crossan-train``."""
    from crossan.train.ranks.joining import silent_unless_first

    with silent_unless_first():
        run_command(train, "crossan-train")
