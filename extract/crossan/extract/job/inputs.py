"""Decode and prepare what a backbone takes of some items, and keep it.

Looking at media, decoding them in worker processes and preparing them is what an
extraction does; only the forward is left to whoever trains the backbone.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.modality import ItemStatus
from crossan.common.console import progress
from crossan.common.contents.media_list import read_media
from crossan.common.datasets import Dataset
from crossan.common.interrupts import end_by, finishing_on
from crossan.common.stores.model_inputs import InputRecord, InputRow, InputStore
from crossan.extract.job.lanes import Lane, prepared_batches
from crossan.extract.job.prepare import Encoder, Prepared
from crossan.extract.job.quarantine import is_final, with_reader
from crossan.extract.job.reading import item_reader
from crossan.extract.job.request import JobRequest
from crossan.extract.job.task import look
from crossan.extract.job.worklist import Finding, look_at_batches, unsettled
from crossan.extract.workers import Stopped, WorkerPool

__all__ = ["keep_inputs"]

_ITEMS_AT_ONCE = 64
_PART_BYTES, _PART_SECONDS = 64 * 2**20, 60.0
"""What an interruption costs at most: less than this is in memory alone."""


def keep_inputs(
    encoder: Encoder, dataset: Dataset, cache: Path, store: InputStore, item_ids: Sequence[str]
) -> dict[str, InputRecord]:
    """Add what a store of model inputs lacks of some items, and return the records of all.

    An item whose file is gone keeps the inputs that were made of it. SIGTERM and Ctrl-C keep what was prepared, and the same call goes on from there.

    Raises
    ------
    CrossanError
        As an extraction raises.
    """
    request, chosen = JobRequest(dataset=dataset.root, cache=cache), set(item_ids)
    media = [medium for medium in read_media(dataset, encoder.modality) if medium.item_id in chosen]
    batches = [tuple(media[i : i + _ITEMS_AT_ONCE]) for i in range(0, len(media), _ITEMS_AT_ONCE)]
    looks = look_at_batches(batches, look(), request.worker_count, request.limits.wall_seconds)
    findings = list(chain.from_iterable(looks))
    recorded = {item_id: state for item_id in chosen if (state := _recorded(store, item_id))}
    at_hand = tuple(each for each in findings if not _is_gone(each, store))
    left = unsettled(at_hand, recorded)
    if left:
        work = [left[i : i + _ITEMS_AT_ONCE] for i in range(0, len(left), _ITEMS_AT_ONCE)]
        _prepare(Lane(encoder, work), request, store)
    return {each.medium.item_id: _record_of(each, store) for each in findings}


def _recorded(store: InputStore, item_id: str) -> tuple[str | None, ItemStatus] | None:
    """Return what is kept of an item, None for what is to be tried again."""
    record = store.newest(item_id)
    if record is None:
        return None
    if record.status is ItemStatus.QUARANTINED and not is_final(record.digest, record.reason):
        return None
    return record.digest, record.status


def _is_gone(finding: Finding, store: InputStore) -> bool:
    """Whether an item's file is gone and its inputs are not."""
    record = store.newest(finding.medium.item_id)
    is_kept = record is not None and record.status is ItemStatus.OK
    return is_kept and finding.status is ItemStatus.MISSING


def _record_of(finding: Finding, store: InputStore) -> InputRecord:
    item_id = finding.medium.item_id
    record = None
    if not _is_gone(finding, store):
        record = store.record_of(item_id, finding.digest)
    # A file that changed or went away after it was looked at has a newer record.
    record = record or store.newest(item_id)
    assert record is not None  # whatever was lacking has been added
    return record


def _prepare(lane: Lane, request: JobRequest, store: InputStore) -> None:
    """Decode and prepare the items of a lane, part by part."""
    label = f"prepare {lane.encoder.modality.value}"
    with (
        finishing_on(signal.SIGTERM, signal.SIGINT, work="batch") as told_to_end,
        progress(label, lane.item_count, "items") as shown,
    ):
        reader = item_reader([lane.encoder], None)
        pool = WorkerPool(reader, request.worker_count, request.limits, told_to_end)
        read = partial(pool.read, ahead=2 * _ITEMS_AT_ONCE)
        parts = _Parts(store)
        try:
            with closing(prepared_batches([lane], read)) as batches, suppress(Stopped):  # type: ignore[type-var]
                for _, batch in batches:
                    parts.add(batch)
                    shown.advance(len(batch))
                    if told_to_end.is_set():
                        break
        finally:
            # After an error, too: what was prepared before it is worth keeping.
            parts.write()
    if told_to_end.is_set():
        end_by(told_to_end.number)


class _Parts:
    """Collects items until they make a part of a fair size."""

    def __init__(self, store: InputStore) -> None:
        self._store = store
        self._rows: list[InputRow] = []
        self._bytes, self._begun = 0, time.monotonic()

    def add(self, batch: Sequence[Prepared]) -> None:
        """Take the items of a batch, and write a part where it is due."""
        for prepared in batch:
            row = _row(prepared)
            self._rows.append(row)
            if row.arrays is not None:
                self._bytes += sum(array.nbytes for array in row.arrays.values())
        is_old = time.monotonic() - self._begun >= _PART_SECONDS
        if self._bytes >= _PART_BYTES or is_old:
            self.write()

    def write(self) -> None:
        """Write what was collected."""
        self._store.append(self._rows)
        self._rows, self._bytes, self._begun = [], 0, time.monotonic()


def _row(prepared: Prepared) -> InputRow:
    finding, outcome = prepared.finding, prepared.outcome
    reason = outcome.reason
    if outcome.status is ItemStatus.QUARANTINED and finding.digest is not None:
        reason = with_reader(reason)
    arrays = None if outcome.inputs is None else _small(outcome.inputs)
    return InputRow(finding.medium.item_id, finding.digest, arrays, outcome.status, reason)


def _small(inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return inputs as they are kept, token ids in half their bytes."""
    return {
        name: array.astype(np.int32) if array.dtype == np.int64 else array
        for name, array in inputs.items()
    }
