"""Run a job on a cluster, one modality after the other."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.cluster import ClusterRequest, Crew, fit_crew
from crossan.common.cluster.connection import connected, nodes_of
from crossan.common.console import note
from crossan.common.contents.media_list import Medium, read_media
from crossan.common.datasets import open_dataset
from crossan.common.refusals import make_folder
from crossan.common.stores import open_store
from crossan.extract.cluster.crew import HiredCrew
from crossan.extract.cluster.tasks import cut_tasks
from crossan.extract.cluster.worker import WorkerSetup
from crossan.extract.job.plan import Shard
from crossan.extract.job.quarantine import write_quarantine
from crossan.extract.job.report import gather_reports
from crossan.extract.job.request import JobRequest
from crossan.extract.job.result import JobResult, count_statuses
from crossan.extract.job.spread import Spread

__all__ = ["extract_on_cluster"]


def extract_on_cluster(
    request: JobRequest, work: Sequence[tuple[Modality, str | None]], cluster: ClusterRequest
) -> Iterator[JobResult]:
    """Compute what the stores lack on a Ray cluster, one modality after the other.

    Dataset and cache must be visible under the same path on every node. The items
    forwarded are counted over the workers that ended their tasks. What a lost
    worker did before is kept but not counted.

    Parameters
    ----------
    request
        As for `extract_modality`; the whole job, no shard of it.
    work
        Modalities, each with the source of its backbone.
    cluster
        Where, and with how many workers.

    Raises
    ------
    CrossanError
        Whatever a worker raised, with its class and exit code; a request that
        does not fit a cluster (exit 2); a task that lost its worker four times
        (exit 6). What was done is kept, and the same request continues from there.
    """
    request = _checked(request, cluster)
    with connected(cluster) as ray:
        crew = fit_crew(nodes_of(ray), cluster.worker_count, cluster.gpus_per_worker)
        if crew.room < crew.worker_count:
            note(
                f"--workers {crew.worker_count}: the cluster has room for {crew.room} now; "
                "the others begin when it has more"
            )
        for modality, source in work:
            yield _extract_one(ray, crew, request, modality, source)


def _extract_one(
    ray: Any,  # noqa: ANN401 - a module
    crew: Crew,
    request: JobRequest,
    modality: Modality,
    source: str | None,
) -> JobResult:
    started = time.monotonic()
    dataset = open_dataset(request.dataset)
    media = read_media(dataset, modality)
    tasks = cut_tasks(len(media))
    crew = replace(crew, worker_count=min(crew.worker_count, len(tasks)))
    note(
        f"extract {modality.value}: {len(media):,} items in {len(tasks):,} tasks "
        f"for {crew.worker_count} workers of {crew.cpus} cores and {crew.gpus:g} GPUs"
    )
    # A worker would count the cores of its node, which it shares with others.
    if request.num_workers is None:
        request = replace(request, num_workers=crew.cpus)
    with _mark(request.cache) as mark:
        setup = WorkerSetup(
            request=request,
            modality=modality,
            source=None if source is None else _absolute(source),
            threads=crew.cpus,
            mark=mark,
            dataset_digest=dataset.digest,
            version=version("crossan"),
        )
        # Ray reports a lost worker on stdout, in a thread of its own; stdout is for results.
        with redirect_stdout(sys.stderr):
            results = HiredCrew(ray, crew, setup).do(tasks)
    return _whole(results, media, time.monotonic() - started)


def _checked(request: JobRequest, cluster: ClusterRequest) -> JobRequest:
    """Refuse what has no meaning on a cluster, and return the request as workers need it."""
    if request.shard != Shard():
        raise UsageError(
            f"--shard {request.shard} --engine ray: "
            "the cluster gets the whole job and cuts it itself",
            remedy="Leave --shard out",
        )
    if request.limit is not None:
        raise UsageError(
            f"--limit {request.limit} --engine ray: "
            "which items come first is not known on a cluster",
            remedy="Use --engine local for a trial",
        )
    if not cluster.gpus_per_worker and request.device not in {"auto", "cpu"}:
        raise UsageError(
            f"--device {request.device} --engine ray: a worker is given no accelerator",
            remedy="Add --gpus-per-worker 1",
        )
    # Absolute paths, because workers start in other folders.
    return replace(
        request,
        dataset=request.dataset.absolute(),
        cache=request.cache.absolute(),
        reuse=None if request.reuse is None else _absolute(request.reuse),
        clips=None if request.clips is None else request.clips.absolute(),
        # `auto` would take an accelerator that Ray has promised to somebody else.
        device=request.device if cluster.gpus_per_worker else "cpu",
    )


def _absolute(source: str) -> str:
    """Return the absolute path of a file or folder, and a hub id or URL as it is."""
    return str(Path(source).absolute()) if Path(source).exists() else source


@contextmanager
def _mark(cache: Path) -> Iterator[Path]:
    """Leave a file in the cache for the workers to find, while the block runs."""
    mark = cache / f".cluster-{secrets.token_hex(8)}"
    make_folder(cache)
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def _whole(results: Sequence[JobResult], media: Sequence[Medium], seconds: float) -> JobResult:
    """Make one result of those of the tasks."""
    # Counted in the newest version, for the result of a task is of the moment that it ended.
    store = open_store(results[0].store)
    item_ids = {medium.item_id for medium in media}
    statuses, reasons = count_statuses(store.item_ids, store.status, store.reasons, item_ids)
    write_quarantine(store, results[0].modality, media)
    reports = [result.report for result in results if result.report is not None]
    return replace(
        results[0],
        version=store.version,
        statuses=statuses,
        reasons=reasons,
        forwarded=sum(result.forwarded for result in results),
        replaced=sum(result.replaced for result in results),
        seconds=seconds,
        report=gather_reports(reports, seconds),
        spread=Spread.joined(result.spread for result in results),
    )
