"""``crossan-extract``: raw media of one dataset into feature stores, one per modality."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from crossan.cache_schema.errors import UsageError
from crossan.common.console import note, print_json, run_command

if TYPE_CHECKING:
    from crossan.cache_schema.modality import Modality
    from crossan.common.cluster import ClusterRequest
    from crossan.extract.backbones import Backbone
    from crossan.extract.job.request import JobRequest
    from crossan.extract.job.result import JobResult

__all__ = ["extract", "main"]

_STORED_DTYPES = ("float16", "float32", "bfloat16")
_COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
_CODECS = ("raw", "zstd", "blosc")


def extract(
    modality: str = typer.Option(
        ..., "--modality", help="text, image, video, audio: one, a comma list, or all."
    ),
    dataset: Path = typer.Option(
        Path(), "--dataset", envvar="CROSSAN_DATASET", help="Dataset folder."
    ),
    cache: Path | None = typer.Option(
        None, "--cache", envvar="CROSSAN_CACHE", help="Folder the stores lie in."
    ),
    backbone: str | None = typer.Option(
        None,
        "--backbone",
        help="Preset, hub id or folder (also one with a subfolder per modality); default: the paper's.",
    ),
    revision: str | None = typer.Option(
        None, "--revision", help="Commit of the hub id; the preset's pinned one by default."
    ),
    layers: str = typer.Option(
        "half", "--layers", help="Hidden states kept: half, all, or a list such as 0,2,4."
    ),
    pooling: str | None = typer.Option(
        None, "--pooling", help="cls, mean, ...: the family's own by default."
    ),
    shard: str = typer.Option(
        "1/1", "--shard", help="This job's share of the batches, for example 3/16."
    ),
    batch_size: str | None = typer.Option(
        None,
        "--batch-size",
        help="Items per forward, or auto: tried once, then recorded with the store. "
        "Default: as recorded, else auto on an accelerator, 16 titles, 8 images, 8 videos or 4 sounds elsewhere.",
    ),
    num_workers: int | None = typer.Option(
        None,
        "--num-workers",
        min=0,
        help="Processes that decode ahead of the forward; default: one per core, 16 at most.",
    ),
    item_seconds: float = typer.Option(
        30.0,
        "--item-seconds",
        help="Computing time that decoding one item may take; over it, it is quarantined.",
    ),
    item_memory: str = typer.Option(
        "4GiB", "--item-memory", help="Memory that decoding one item may take."
    ),
    clips: Path | None = typer.Option(
        None,
        "--clips",
        help="Folder that keeps the decoded clips of videos, for the next backbone; values differ slightly with it.",
    ),
    is_compiled: bool = typer.Option(
        False, "--compile", help="Compile the backbone's blocks with torch.compile."
    ),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda, cuda:1, ..."),
    dtype: str = typer.Option(
        "float32", "--dtype", help="Compute type: float32, bfloat16 or float16."
    ),
    stored_dtype: str = typer.Option(
        "float16", "--stored-dtype", help="Stored type: float16, float32 or bfloat16."
    ),
    codec: str = typer.Option(
        "raw", "--codec", help="raw (mapped by trainers), or zstd or blosc for archives."
    ),
    max_bad: str = typer.Option(
        "1%", "--max-bad", help="Share of items that may be missing or unreadable; above it exit 3."
    ),
    limit: int | None = typer.Option(
        None, "--limit", min=1, help="Do at most so many items of each modality, then stop."
    ),
    engine: str = typer.Option(
        "local", "--engine", help="local, or ray: tasks on the workers of a Ray cluster."
    ),
    address: str | None = typer.Option(
        None,
        "--address",
        help="Ray cluster: local (started for this job), auto (this machine's), HOST:PORT; default RAY_ADDRESS or local.",
    ),
    workers: int | None = typer.Option(
        None,
        "--workers",
        min=1,
        help="Ray workers; default one per accelerator asked for, else one per node.",
    ),
    gpus_per_worker: float | None = typer.Option(
        None,
        "--gpus-per-worker",
        min=0,
        help="Accelerators, or a share of one, that each Ray worker holds.",
    ),
    repair: bool = typer.Option(
        False,
        "--repair",
        help="Mend what `crossan cache fsck` names, and compute again what cannot be saved.",
    ),
    reuse: str | None = typer.Option(
        None,
        "--reuse",
        help="Store or cache (folder, s3://, https://) to take rows from where the content is the same.",
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Say what would be done and how large it gets; write nothing."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the result as one JSON line."),
) -> None:
    """Compute the pooled hidden states of every item whose content the store does not hold yet.

    A run that was interrupted goes on with the same command. Bad items never
    stop it: they are recorded with a reason, listed in the store's quarantine.jsonl.
    """
    from crossan.common.cluster import parse_engine
    from crossan.common.modalities import parse_modalities
    from crossan.extract.job.plan import Shard
    from crossan.extract.job.request import (
        JobRequest,
        parse_batch_size,
        parse_choice,
        parse_limits,
        parse_share,
    )
    from crossan.extract.job.result import check_bad_share

    asked = parse_modalities(modality)
    allowed = parse_share(max_bad, "--max-bad")
    asked_size, is_automatic = parse_batch_size(batch_size)
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
        batch_size=asked_size,
        is_batch_size_automatic=is_automatic,
        num_workers=num_workers,
        limits=parse_limits(item_seconds, item_memory),
        clips=clips,
        is_compiled=is_compiled,
        device=device,
        dtype=parse_choice(dtype, "--dtype", _COMPUTE_DTYPES),
        stored_dtype=parse_choice(stored_dtype, "--stored-dtype", _STORED_DTYPES),
        codec=parse_choice(codec, "--codec", _CODECS),
        limit=limit,
        is_repair=repair,
        reuse=reuse,
    )
    cluster = parse_engine(
        engine, address, workers, gpus_per_worker, "; processes that decode are --num-workers"
    )
    results = []
    for result in _run_each(request, asked, cluster, is_dry=dry_run):
        results.append(result)
        if as_json:
            note(result.to_text())
        else:
            print(result.to_text(), flush=True)
    if as_json:
        print_json({"stores": [result.to_dict() for result in results]})
    if not dry_run:
        check_bad_share(results, allowed)


def main() -> NoReturn:
    """Run ``crossan-extract``."""
    run_command(extract, "crossan-extract")


def _run_each(
    request: JobRequest,
    asked: tuple[Modality, ...],
    cluster: ClusterRequest | None,
    *,
    is_dry: bool,
) -> Iterator[JobResult]:
    """Check everything that is cheap to check for all modalities, then do them one after the other, or two together."""
    from crossan.common.datasets import open_dataset
    from crossan.extract.job.request import backbone_source, decoded_together

    open_dataset(request.dataset)
    sources = {modality: backbone_source(request.backbone, modality, asked) for modality in asked}
    if request.revision is not None and len(asked) > 1:
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

    for group in decoded_together(asked):
        if is_dry:
            yield from (preview_modality(request, load(modality)) for modality in group)
        else:
            yield from extract_together(request, [load(modality) for modality in group])
