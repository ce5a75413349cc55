"""``crossan-extract``: raw media of one dataset into feature stores, one per modality."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.cluster.options import Address, Engine
from crossan.common.console import AsJson, Panel, complete_from, note, print_json, run_command
from crossan.common.stores.options import CacheFolder

if TYPE_CHECKING:
    from crossan.common.cluster import ClusterRequest
    from crossan.extract.backbones import Backbone
    from crossan.extract.job.request import JobRequest
    from crossan.extract.job.result import JobResult

__all__ = ["extract", "main"]


def extract(
    modality: Annotated[
        str,
        typer.Option(
            "--modality",
            metavar="text,image,...",
            autocompletion=complete_from([modality.value for modality in Modality] + ["all"]),
            help="text, image, video or audio, a comma list of them, or all.",
            rich_help_panel=Panel.WHAT,
        ),
    ],
    dataset: Annotated[
        Path,
        typer.Option(
            "--dataset",
            metavar="FOLDER",
            envvar="CROSSAN_DATASET",
            show_default=False,
            help="Dataset folder; default: the current folder.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = Path(),
    cache: CacheFolder = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            metavar="NAME",
            help="Preset, hub id or folder, also one with a subfolder per modality;"
            " default: the paper's.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision",
            help="Commit of the hub id; default: the one that the preset pins.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    layers: Annotated[
        str,
        typer.Option(
            "--layers",
            metavar="LAYERS",
            autocompletion=complete_from(["half", "all"]),
            help="Hidden states to keep: half, all, or a list such as 0,2,4.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = "half",
    pooling: Annotated[
        str | None,
        typer.Option(
            "--pooling",
            metavar="POOLING",
            help="cls, mean, ...; default: what the backbone's family is made for.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(
            "--dtype",
            help="Type to compute in.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = "float32",
    stored_dtype: Annotated[
        Literal["float16", "float32", "bfloat16"],
        typer.Option(
            "--stored-dtype",
            help="Type of the stored numbers.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = "float16",
    codec: Annotated[
        Literal["raw", "zstd", "blosc"],
        typer.Option(
            "--codec",
            help="How chunks are written: raw for trainers, which map it, the others for archives.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = "raw",
    clips: Annotated[
        Path | None,
        typer.Option(
            "--clips",
            metavar="FOLDER",
            help="Folder that keeps the decoded clips of videos, for the next backbone;"
            " values differ slightly with it.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    reuse: Annotated[
        str | None,
        typer.Option(
            "--reuse",
            metavar="ADDRESS",
            help="Store or cache (folder, s3://, https://) to take rows from where the content"
            " is the same.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Mend what crossan cache fsck names, and compute again what cannot be saved.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what would be done and how large it gets; write nothing.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="DEVICE",
            autocompletion=complete_from(["auto", "cpu", "cuda"]),
            help="auto, cpu, cuda, or one of several as cuda:1.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = "auto",
    is_compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the backbone's blocks with torch.compile.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = False,
    batch_size: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            metavar="N|auto",
            help="Items per forward, or auto: tried once, then recorded with the store."
            " Default: as recorded, else auto on an accelerator,"
            " 16 titles, 8 images, 8 videos or 4 sounds elsewhere.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = None,
    num_workers: Annotated[
        int | None,
        typer.Option(
            "--num-workers",
            min=0,
            help="Processes that decode ahead of the forward; default: one per core, 16 at most.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = None,
    shard: Annotated[
        str,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="This job's share of the batches, for example 3/16.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = "1/1",
    max_bad: Annotated[
        str,
        typer.Option(
            "--max-bad",
            metavar="SHARE",
            help="Share of items that may be missing or unreadable; above it exit 3.",
            rich_help_panel=Panel.LIMITS,
        ),
    ] = "1%",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="Do at most so many items of each modality, then stop.",
            rich_help_panel=Panel.LIMITS,
        ),
    ] = None,
    item_seconds: Annotated[
        float,
        typer.Option(
            "--item-seconds",
            metavar="SECONDS",
            help="Computing time that decoding one item may take; over it, it is quarantined.",
            rich_help_panel=Panel.LIMITS,
        ),
    ] = 30.0,
    item_memory: Annotated[
        str,
        typer.Option(
            "--item-memory",
            metavar="SIZE",
            help="Memory that decoding one item may take.",
            rich_help_panel=Panel.LIMITS,
        ),
    ] = "4GiB",
    engine: Engine = "local",
    address: Address = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Ray workers; default: one per accelerator asked for, else one per node.",
            rich_help_panel=Panel.CLUSTER,
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-worker",
            min=0,
            help="Accelerators, or a share of one, that each Ray worker holds.",
            rich_help_panel=Panel.CLUSTER,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    r"""Compute the pooled hidden states of every item whose content the store does not hold yet.

    A run that was interrupted goes on with the same command. Bad items never
    stop it: they are recorded with a reason, listed in the store's
    quarantine.jsonl.

    Examples
    --------
    crossan-extract --modality text --dataset data --cache cache
    crossan-extract --modality all --dataset data --cache cache --device cuda \
        --dtype bfloat16
    """
    from crossan.common.cluster import parse_engine
    from crossan.common.modalities import parse_modalities
    from crossan.extract.job.plan import Shard
    from crossan.extract.job.request import (
        JobRequest,
        parse_batch_size,
        parse_limits,
        parse_share,
    )
    from crossan.extract.job.result import check_bad_share

    modalities = parse_modalities(modality)
    bad_share = parse_share(max_bad, "--max-bad")
    fixed_size, is_automatic = parse_batch_size(batch_size)
    if cache is None:
        raise UsageError(
            "no cache given: name the folder for the stores",
            remedy="Give --cache FOLDER or set CROSSAN_CACHE.",
        )
    request = JobRequest(
        dataset=dataset,
        cache=cache,
        backbone=backbone,
        revision=revision,
        layers=layers,
        pooling=pooling,
        shard=Shard.parse(shard),
        batch_size=fixed_size,
        is_batch_size_automatic=is_automatic,
        num_workers=num_workers,
        limits=parse_limits(item_seconds, item_memory),
        clips=clips,
        is_compiled=is_compiled,
        device=device,
        dtype=dtype,
        stored_dtype=stored_dtype,
        codec=codec,
        limit=limit,
        is_repair=repair,
        reuse=reuse,
    )
    cluster = parse_engine(
        engine, address, workers, gpus_per_worker, "; processes that decode are --num-workers"
    )
    results = []
    for result in _run_each(request, modalities, cluster, is_dry=dry_run):
        results.append(result)
        if as_json:
            note(result.to_text())
        else:
            print(result.to_text(), flush=True)
    if as_json:
        print_json({"stores": [result.to_dict() for result in results]})
    if not dry_run:
        check_bad_share(results, bad_share)


def main() -> NoReturn:
    """Run ``crossan-extract``."""
    run_command(extract, "crossan-extract")


def _run_each(
    request: JobRequest,
    modalities: tuple[Modality, ...],
    cluster: ClusterRequest | None,
    *,
    is_dry: bool,
) -> Iterator[JobResult]:
    """Check everything that is cheap to check for all modalities, then do them.

    Sound and video are decoded together, the others one after the other.
    """
    from crossan.common.datasets import open_dataset
    from crossan.extract.job.request import backbone_source, decoded_together

    open_dataset(request.dataset)
    sources = {
        modality: backbone_source(request.backbone, modality, modalities) for modality in modalities
    }
    if request.revision is not None and len(modalities) > 1:
        raise UsageError(
            "--revision: one revision cannot serve several modalities; extract one at a time"
        )

    if cluster is not None and not is_dry:
        from crossan.extract.cluster.driver import extract_on_cluster

        yield from extract_on_cluster(request, list(sources.items()), cluster)
        return

    from crossan.extract.backbones import load_backbone
    from crossan.extract.job.run import extract_together, preview_modality

    def load(modality: Modality) -> Backbone:
        return load_backbone(
            modality,
            sources[modality],
            revision=request.revision,
            layers=request.layers,
            pooling=request.pooling,
            device=request.device,
            dtype=request.dtype,
            is_compiled=request.is_compiled,
        )

    for group in decoded_together(modalities):
        if is_dry:
            yield from (preview_modality(request, load(modality)) for modality in group)
        else:
            yield from extract_together(request, [load(modality) for modality in group])
