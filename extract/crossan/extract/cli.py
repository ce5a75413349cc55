"""``crossan-extract``: raw media of one dataset into feature stores, one per modality."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.cluster.options import Address, Engine, GpusPerWorker, Workers
from crossan.common.console import AsJson, Device, note, print_json, print_text, run_command
from crossan.common.stores.options import CacheFolder
from crossan.extract.options import (
    BackboneName,
    BatchSize,
    ClipsFolder,
    CodecName,
    Compile,
    ComputeDtype,
    DatasetFolder,
    DryRun,
    ItemMemory,
    ItemSeconds,
    Layers,
    Limit,
    MaxBad,
    MaxLength,
    Modalities,
    NumWorkers,
    Pooling,
    Repair,
    ReplaceContents,
    Reuse,
    Revision,
    ShardText,
    StoredDtype,
)

if TYPE_CHECKING:
    from crossan.common.cluster import ClusterRequest
    from crossan.extract.job.prepare import Encoder
    from crossan.extract.job.request import JobRequest
    from crossan.extract.job.result import JobResult

__all__ = ["extract", "main"]


def extract(
    modality: Modalities,
    dataset: DatasetFolder = Path(),
    cache: CacheFolder = None,
    backbone: BackboneName = None,
    revision: Revision = None,
    layers: Layers = "half",
    pooling: Pooling = None,
    max_length: MaxLength = None,
    dtype: ComputeDtype = "float32",
    stored_dtype: StoredDtype = "float16",
    codec: CodecName = "raw",
    clips: ClipsFolder = None,
    reuse: Reuse = None,
    repair: Repair = False,
    replace_contents: ReplaceContents = False,
    dry_run: DryRun = False,
    device: Device = "auto",
    is_compiled: Compile = False,
    batch_size: BatchSize = None,
    num_workers: NumWorkers = None,
    shard: ShardText = "1/1",
    max_bad: MaxBad = "1%",
    limit: Limit = None,
    item_seconds: ItemSeconds = 30.0,
    item_memory: ItemMemory = "4GiB",
    engine: Engine = "local",
    address: Address = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
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
    from crossan.common.stores.folders import require_cache
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
    request = JobRequest(
        dataset=dataset,
        cache=require_cache(cache),
        backbone=backbone,
        revision=revision,
        layers=layers,
        pooling=pooling,
        max_length=max_length,
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
        may_replace=replace_contents,
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
            print_text(result.to_text())
        for warning in result.warnings():
            note(warning)
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
    if request.max_length is not None and Modality.TEXT not in modalities:
        raise UsageError(
            f"--max-length {request.max_length}: titles are cut to it, and text is not extracted"
        )

    if cluster is not None and not is_dry:
        from crossan.extract.cluster.driver import extract_on_cluster

        yield from extract_on_cluster(request, list(sources.items()), cluster)
        return

    from crossan.extract.backbones import Choice, open_backbone
    from crossan.extract.job.run import extract_together, preview_modality

    choice = Choice(
        layers=request.layers,
        pooling=request.pooling,
        max_length=request.max_length,
        device=request.device,
        dtype=request.dtype,
        is_compiled=request.is_compiled,
    )

    def load(modality: Modality) -> Encoder:
        return open_backbone(modality, sources[modality], revision=request.revision, choice=choice)

    for group in decoded_together(modalities):
        if is_dry:
            yield from (preview_modality(request, load(modality)) for modality in group)
        else:
            yield from extract_together(request, [load(modality) for modality in group])
