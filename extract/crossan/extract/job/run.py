"""Run a job, from the look at its media to its report.

It does one modality, or two that share their files.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from threading import Event
from typing import Any

from crossan.common.console import note
from crossan.common.interrupts import end_by, finishing_on
from crossan.common.refusals import can_write, require_writable
from crossan.common.stores import FeatureStore, Journal
from crossan.extract.job.compute import Stream, compute
from crossan.extract.job.lanes import Lane
from crossan.extract.job.prepare import Encoder
from crossan.extract.job.quarantine import write_quarantine
from crossan.extract.job.reading import item_reader
from crossan.extract.job.replacing import Replaced
from crossan.extract.job.report import report_file, write_report
from crossan.extract.job.request import JobRequest
from crossan.extract.job.result import JobResult, Outlook, count_statuses
from crossan.extract.job.reuse import reuse_rows
from crossan.extract.job.stages import StageClock
from crossan.extract.job.task import Task, newest, recorded_in
from crossan.extract.workers import WorkerPool

__all__ = ["extract_modality", "extract_together", "preview_modality"]


def extract_modality(request: JobRequest, encoder: Encoder) -> JobResult:
    """Compute what the store of one modality lacks, and publish it.

    This is `extract_together` for one.
    """
    (result,) = extract_together(request, [encoder])
    return result


def extract_together(request: JobRequest, encoders: Sequence[Encoder]) -> list[JobResult]:
    """Compute what the stores of some modalities lack, and publish it.

    Every batch is durable soon after its forward, so an interruption costs
    three batches at most, and the same request continues from there. SIGTERM and
    Ctrl-C finish the batch in hand, publish, and end with exit codes 143 and 130.

    Parameters
    ----------
    encoders
        One, or those of sound and video, whose common files are then decoded once.

    Raises
    ------
    CrossanError
        No dataset; a canary for which this machine computes something else (exit 5);
        no space or memory, or a cache that cannot be written while something is
        left to do (exit 6). What was journaled before is kept.
    """
    tasks = [Task.open(request, encoder) for encoder in encoders]
    if not all(can_write(task.folder) for task in tasks):
        return [_require_nothing_left(task) for task in tasks]
    clock = StageClock(request.worker_count)
    with ExitStack() as open_journals:
        jobs = [_begin(task, clock, open_journals) for task in tasks]
        streams = [stream for _, _, stream, _ in jobs]
        # Ctrl-C as well: an exception in the middle of anything may leave a lock of the workers'
        # threads taken, for whose end this one waits.
        with finishing_on(signal.SIGTERM, signal.SIGINT, work="batch") as told_to_end:
            lost_count = 0
            # Without work nothing is asked of the backbones, which are loaded for it.
            if any(stream.lane.work for stream in streams):
                lost_count = _compute(request, streams, clock, told_to_end)
            # Within the block, so that no signal interrupts the publishing.
            for stream in streams:
                stream.publish()
    results = []
    for task, batch_size, stream, replaced in jobs:
        store = newest(task.folder)
        if store is not None:
            write_quarantine(store, task.encoder.modality, task.media)
        result = _result(task, store, stream.tally.forwarded, replaced, None)
        result = replace(result, spread=stream.spread if stream.spread.items else None)
        report = _report(task, batch_size, stream, lost_count, clock, result)
        write_report(report_file(task.folder, request.shard), report)
        results.append(result)
    # The last, so that a job that was told to end leaves its report as any other does.
    if told_to_end.is_set():
        end_by(told_to_end.number)
    return results


def _compute(
    request: JobRequest, streams: Sequence[Stream], clock: StageClock, told_to_end: Event
) -> int:
    """Do all batches, and return how many workers were lost over them."""
    reader = item_reader([stream.lane.encoder for stream in streams], request.clips)
    pool = WorkerPool(reader, request.worker_count, request.limits, told_to_end)
    compute(streams, pool, clock, told_to_end)
    return pool.lost_count


def preview_modality(request: JobRequest, encoder: Encoder) -> JobResult:
    """Say what `extract_modality` would do, writing nothing.

    Work in a journal that has not been published counts as not done.
    """
    task = Task.open(request, encoder)
    store = newest(task.folder)
    work, replaced = task.remaining(recorded_in(store), task.planned_batch_size())
    to_forward = sum(finding.status is None for findings in work for finding in findings)
    estimated_bytes = to_forward * task.identity.row_bytes
    outlook = Outlook(to_forward=to_forward, estimated_bytes=estimated_bytes)
    return _result(task, store, 0, replaced, outlook)


def _require_nothing_left(task: Task) -> JobResult:
    """Return the result of a job that finds everything done in a cache that it cannot write.

    Raises
    ------
    ResourceError
        Something is left to do.
    """
    store = newest(task.folder)
    work, replaced = task.remaining(recorded_in(store), task.planned_batch_size())
    if work or task.request.is_repair:
        require_writable(task.folder, f"--cache {task.request.cache}")
    note(f"{task.encoder.modality.value}: nothing to do, so nothing is written")
    return _result(task, store, 0, replaced, None)


def _begin(
    task: Task, clock: StageClock, open_journals: ExitStack
) -> tuple[Task, int, Stream, Replaced]:
    """Open the store and the journal of a task, and find out what remains to be done."""
    # First, and before the store is begun: a store of another dataset is refused untouched.
    was_compared = task.request.is_repair and task.repair()
    canary = task.begin_store()
    batch_size = task.settle_batch_size()
    # Before the store's newest version is read: taking over the journal of a dead job may make one.
    journal = Journal.open(task.folder, f"shard {task.request.shard}")
    open_journals.callback(journal.close)
    with clock.measure("looking"):
        recorded = {**recorded_in(newest(task.folder)), **journal.entries}
        work, replaced = task.remaining(recorded, batch_size, was_compared=was_compared)
    # A job that appends nothing may run on any machine.
    if work:
        task.check_canary(canary)
        if task.request.reuse:
            work = reuse_rows(task.request.reuse, task.folder, task.identity, work, journal)
    stream = Stream(
        Lane(task.encoder, work),
        journal,
        task.request.stored_dtype,
        publish=partial(_publish, task, journal, batch_size),
    )
    return task, batch_size, stream, replaced


def _publish(task: Task, journal: Journal, batch_size: int) -> None:
    # What computed nothing has no provenance, which the backbone would have to be loaded for.
    if journal.row_count:
        journal.publish(task.producer(batch_size))


def _report(
    task: Task,
    batch_size: int,
    stream: Stream,
    lost_count: int,
    clock: StageClock,
    result: JobResult,
) -> dict[str, Any]:
    tally = stream.tally
    return {
        "crossan": version("crossan"),
        "modality": task.encoder.modality.value,
        "store": str(task.folder),
        "version": result.version,
        "shard": str(task.request.shard),
        "seconds": round(result.seconds, 3),
        "batch_size": batch_size,
        "part_size": stream.forward.part_size,
        "forward_passes": stream.forward.pass_count,
        "items": {
            "planned": stream.lane.item_count,
            "forwarded": tally.forwarded,
            **tally.statuses,
        },
        "failures": dict(tally.reasons),
        "notes": dict(stream.lane.notes),
        "workers": {"count": clock.worker_count, "lost": lost_count},
        "bottleneck": clock.bottleneck,
        "device_rate_reached": clock.device_rate_reached,
        "stages": clock.to_dict(tally.done),
    }


def _result(
    task: Task,
    store: FeatureStore | None,
    forwarded: int,
    replaced: Replaced,
    outlook: Outlook | None,
) -> JobResult:
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    if store is not None:
        item_ids = {medium.item_id for medium in task.media}
        statuses, reasons = count_statuses(store.item_ids, store.status, store.reasons, item_ids)
    return JobResult(
        modality=task.encoder.modality,
        store=task.folder,
        version=0 if store is None else store.version,
        fingerprint=task.identity.fingerprint,
        item_count=len(task.media),
        statuses=statuses,
        reasons=reasons,
        forwarded=forwarded,
        replaced=len(replaced.item_ids),
        seconds=time.monotonic() - task.started,
        report=report_file(task.folder, task.request.shard) if outlook is None else None,
        outlook=outlook,
    )
