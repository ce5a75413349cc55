"""The run loop: look, plan, check the canary, forward, journal, publish."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from crossan.cache_schema.errors import StoreNotFoundError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.console import note, progress
from crossan.common.datasets import Dataset, open_dataset
from crossan.common.stores import FeatureStore, Journal, create_store, open_store, read_canary, store_folder
from crossan.common.stores.canary import check_canary
from crossan.common.stores.growing.repair import repair
from crossan.extract.job.canary import canary_features
from crossan.extract.job.forward import rows_of_batch
from crossan.extract.job.media_list import Medium, read_media
from crossan.extract.job.plan import Batch, plan_batches
from crossan.extract.job.prefetch import prepared_ahead
from crossan.extract.job.prepare import Encoder, decoder_for, prepare_medium
from crossan.extract.job.quarantine import write_quarantine
from crossan.extract.job.request import JobRequest
from crossan.extract.job.result import JobResult, Outlook, count_statuses
from crossan.extract.job.reuse import reuse_rows
from crossan.extract.job.worklist import Finding, Recorded, look_at, look_at_batches, take_first, unsettled

__all__ = ["extract_modality", "preview_modality"]

_ITEMS_PER_SEGMENT = 16_384
_SECONDS_PER_SEGMENT = 600.0
_BYTES_PER_VALUE = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class _Task:
    """One modality's job with everything loaded."""

    request: JobRequest
    encoder: Encoder
    dataset: Dataset
    media: list[Medium]
    identity: StoreIdentity
    folder: Path
    started: float


def extract_modality(request: JobRequest, encoder: Encoder) -> JobResult:
    """Compute what the store of one modality lacks, and publish it.

    Every batch is durable before the next one begins, so an interruption costs
    one batch; the same request then goes on from there.

    Raises
    ------
    CrossanError
        No dataset; a canary that this machine computes otherwise (exit 5); no
        space or memory (exit 6). What was journaled before is kept.
    """
    task = _open_task(request, encoder)
    if request.is_repair and (task.folder / "versions").is_dir():
        note(f"repair {task.folder}: {repair(task.folder, task.identity, canary_features(encoder)).to_text()}")
    canary = _create_if_new(task)
    journal = Journal.open(task.folder, f"shard {request.shard}")
    try:
        recorded = {**_recorded(_newest(task.folder)), **journal.entries}
        work = _remaining(task, recorded)
        if work:
            _check_canary(task, canary)
            work = reuse_rows(request.reuse, task.folder, task.identity, work, journal) if request.reuse else work
        forwarded = _compute(task, work, journal)
        journal.publish(_producer(task))
    finally:
        journal.close()
    store = _newest(task.folder)
    if store is not None:
        write_quarantine(store, encoder.modality, task.media)
    return _result(task, store, forwarded, None)


def preview_modality(request: JobRequest, encoder: Encoder) -> JobResult:
    """Say what `extract_modality` would do, writing nothing; work of an unpublished journal counts as not done."""
    task = _open_task(request, encoder)
    store = _newest(task.folder)
    work = _remaining(task, _recorded(store))
    to_forward = sum(finding.status is None for findings in work for finding in findings)
    row_bytes = len(encoder.layers) * encoder.dim * _BYTES_PER_VALUE[request.stored_dtype]
    return _result(task, store, 0, Outlook(to_forward=to_forward, estimated_bytes=to_forward * row_bytes))


def _open_task(request: JobRequest, encoder: Encoder) -> _Task:
    started = time.monotonic()
    dataset = open_dataset(request.dataset)
    identity = encoder.identity(request.stored_dtype, request.codec)
    return _Task(
        request,
        encoder,
        dataset,
        read_media(dataset, encoder.modality),
        identity,
        Path(store_folder(request.cache, dataset.name, identity)),
        started,
    )


def _create_if_new(task: _Task) -> np.ndarray[Any, Any] | None:
    """Create the store, or see that the one there is the same; return the canary where it had to be computed."""
    if (task.folder / "store.json").exists():
        create_store(task.folder, task.identity, read_canary(task.folder))
        return None
    canary = canary_features(task.encoder)
    create_store(task.folder, task.identity, canary)
    return canary


def _check_canary(task: _Task, computed: np.ndarray[Any, Any] | None) -> None:
    check_canary(
        read_canary(task.folder),
        canary_features(task.encoder) if computed is None else computed,
        compute_dtype=str(task.identity.capture["compute_dtype"]),
        where=str(task.folder),
    )


def _newest(folder: Path) -> FeatureStore | None:
    try:
        return open_store(folder)
    except StoreNotFoundError:
        return None


def _recorded(store: FeatureStore | None) -> Recorded:
    if store is None:
        return {}
    return {
        str(item_id): (digest, ItemStatus(str(status)))
        for item_id, digest, status in zip(store.item_ids, store.content_digests, store.status, strict=True)
    }


def _remaining(task: _Task, recorded: Recorded) -> list[tuple[Finding, ...]]:
    is_text = task.encoder.modality is Modality.TEXT
    plan = plan_batches(
        task.media,
        task.request.batch_size_for(task.encoder.modality),
        task.encoder.text_length if is_text else None,
    )
    own: list[Batch] = task.request.shard.take(plan)
    work = []
    with progress(f"look at {task.encoder.modality.value}", sum(map(len, own)), "items") as shown:
        for findings in look_at_batches(own, _look(), task.request.num_workers):
            work.append(unsettled(findings, recorded))
            shown.advance(len(findings))
    return take_first([findings for findings in work if findings], task.request.limit)


def _look() -> Callable[[Medium], Finding]:
    from crossan.extract.media.digests import content_digest, text_digest

    return partial(look_at, digest_of_file=content_digest, digest_of_text=text_digest)


def _compute(task: _Task, work: Sequence[tuple[Finding, ...]], journal: Journal) -> int:
    encoder, request = task.encoder, task.request
    decode = None if encoder.modality is Modality.TEXT else decoder_for(encoder)
    prepare = partial(prepare_medium, encoder=encoder, decode=decode)
    worker_count = (
        0 if decode is None else request.num_workers
    )  # a fast tokenizer must not be used by two threads at once
    total = sum(len(findings) for findings in work)
    forwarded = done = 0
    try:
        with progress(f"extract {encoder.modality.value}", total, "items") as shown:
            for batch in prepared_ahead(work, prepare, worker_count):
                rows, count = rows_of_batch(batch, encoder, request.stored_dtype)
                journal.append(rows)
                forwarded, done = forwarded + count, done + len(rows)
                shown.advance(len(rows))
                if journal.row_count >= _ITEMS_PER_SEGMENT or journal.age_seconds >= _SECONDS_PER_SEGMENT:
                    journal.publish(_producer(task))
    except (KeyboardInterrupt, SystemExit):
        note(f"extract {encoder.modality.value}: stopped after {done:,} of {total:,} items, which are kept")
        raise
    return forwarded


def _producer(task: _Task) -> dict[str, Any]:
    request = task.request
    return {
        **task.encoder.provenance(),
        "crossan": version("crossan"),
        "shard": str(request.shard),
        "batch_size": request.batch_size_for(task.encoder.modality),
        "num_workers": request.num_workers,
        "dataset": task.dataset.name,
        "dataset_digest": task.dataset.digest,
        "data_licence": task.dataset.licence,
        "seconds": round(time.monotonic() - task.started, 3),
    }


def _result(task: _Task, store: FeatureStore | None, forwarded: int, outlook: Outlook | None) -> JobResult:
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    if store is not None:
        wanted = {medium.item_id for medium in task.media}
        statuses, reasons = count_statuses(store.item_ids, store.status, store.reasons, wanted)
    return JobResult(
        modality=task.encoder.modality,
        store=task.folder,
        version=0 if store is None else store.version,
        fingerprint=task.identity.fingerprint,
        item_count=len(task.media),
        statuses=statuses,
        reasons=reasons,
        forwarded=forwarded,
        seconds=time.monotonic() - task.started,
        outlook=outlook,
    )
