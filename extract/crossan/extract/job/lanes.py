"""Feed the lanes of a job together, so that a video with sound is decoded once.

A lane is the work of one modality.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, groupby, repeat
from pathlib import Path

from crossan.cache_schema.modality import Modality
from crossan.extract.job.prepare import Encoder, Prepared, prepare_title, prepared
from crossan.extract.job.worklist import Finding
from crossan.extract.workers import DecodeOrder, MediumOutcome

__all__ = ["Lane", "prepared_batches"]

Read = Callable[[Iterable[DecodeOrder]], Iterator[dict[Modality, MediumOutcome]]]


@dataclass(eq=False)
class Lane:
    """One modality's work in a job, and what was noted on the way."""

    encoder: Encoder
    work: Sequence[tuple[Finding, ...]]
    """The batches that the job has to do, in order."""
    notes: Counter[str] = field(default_factory=Counter)
    """Oddities of media that could be read, counted."""

    @property
    def item_count(self) -> int:
        """Items of all batches."""
        return sum(map(len, self.work))


@dataclass(frozen=True, slots=True)
class _Visit:
    """One file to read and the lanes that take something from it."""

    order: DecodeOrder | None
    """None where nothing is read: a title, or an item without a medium."""
    takers: tuple[tuple[Lane, Finding], ...]


def prepared_batches(lanes: Sequence[Lane], read: Read) -> Iterator[tuple[Lane, list[Prepared]]]:
    """Yield each lane's batches in order, as their items are ready.

    Several lanes are walked side by side by item id, and a file that two of them
    need is read once. Their items must come sorted, those with a medium by item id
    and then the others.

    Parameters
    ----------
    lanes
        One, or those of sound and video.
    read
        Answers orders in their order, reading ahead as far as it sees fit.
    """
    visits = list(_visits(lanes))
    waiting: dict[Lane, list[Prepared]] = {lane: [] for lane in lanes}
    sizes = {lane: map(len, lane.work) for lane in lanes}
    size = {lane: next(sizes[lane], 0) for lane in lanes}
    with closing(_prepared_items(visits, read)) as items:  # type: ignore[type-var]
        for lane, item in items:
            batch = waiting[lane]
            batch.append(item)
            lane.notes.update(item.outcome.notes)
            # A lane's items come in the order of its batches, so counting tells where one ends.
            if len(batch) == size[lane]:
                yield lane, batch
                waiting[lane], size[lane] = [], next(sizes[lane], 0)


def _prepared_items(visits: Sequence[_Visit], read: Read) -> Iterator[tuple[Lane, Prepared]]:
    answers = read(visit.order for visit in visits if visit.order is not None)
    with closing(answers):  # type: ignore[type-var]
        for visit in visits:
            answer = None if visit.order is None else next(answers)
            for lane, finding in visit.takers:
                if answer is not None:
                    yield lane, prepared(finding, answer[lane.encoder.modality])
                elif finding.status is not None:
                    outcome = MediumOutcome(None, finding.status, finding.reason)
                    yield lane, Prepared(finding, outcome)
                else:
                    yield lane, prepare_title(finding, lane.encoder)


def _visits(lanes: Sequence[Lane]) -> Iterator[_Visit]:
    streams = [zip(chain.from_iterable(lane.work), repeat(lane)) for lane in lanes]
    # One lane keeps its own order (titles come by length); only several need a common one.
    merged = streams[0] if len(streams) == 1 else heapq.merge(*streams, key=_item_of)
    for _, group in groupby(merged, key=_item_of):
        # An item's sound may be a file of its own, and is then no part of the visit to its video.
        by_file: dict[Path | None, list[tuple[Lane, Finding]]] = {}
        for finding, lane in group:
            path = finding.medium.path if finding.status is None else None
            by_file.setdefault(path, []).append((lane, finding))
        for path, takers in by_file.items():
            order = None
            if path is not None:
                modalities = tuple(lane.encoder.modality for lane, _ in takers)
                order = DecodeOrder(path, takers[0][1].digest, modalities)
            yield _Visit(order, tuple(takers))


def _item_of(pair: tuple[Finding, Lane]) -> tuple[bool, str]:
    """Return the sort key of the lanes, those with a medium first, then by item id."""
    medium = pair[0].medium
    return not medium.is_named, medium.item_id
