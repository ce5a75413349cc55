"""One modality's work is a lane; the lanes of one job are fed together, so that a file with sound is decoded once."""

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
from crossan.extract.workers import Order, Outcome

__all__ = ["Lane", "prepared_batches"]

Read = Callable[[Iterable[Order]], Iterator[dict[Modality, Outcome]]]


@dataclass(eq=False)
class Lane:
    """The batches of one modality that a job has to do, in order, and what it has noted so far."""

    encoder: Encoder
    work: Sequence[tuple[Finding, ...]]
    notes: Counter[str] = field(default_factory=Counter)
    """Oddities of media that could be read, counted."""

    @property
    def item_count(self) -> int:
        """Items of all batches."""
        return sum(map(len, self.work))


@dataclass(frozen=True, slots=True)
class _Stop:
    """One stop on the way through all lanes: what to read, and whose it is."""

    order: Order | None
    takers: tuple[tuple[Lane, Finding], ...]


def prepared_batches(lanes: Sequence[Lane], read: Read) -> Iterator[tuple[Lane, list[Prepared]]]:
    """Yield each lane's batches in order, as their items are ready.

    Several lanes are gone through side by side, by item id; a file that two of
    them want is read once. Their items must come sorted: named ones by item id,
    then the others.

    Parameters
    ----------
    lanes
        One, or those of sound and video.
    read
        Answers orders in their order, reading ahead as far as it sees fit.
    """
    stops = list(_stops(lanes))
    waiting: dict[int, list[Prepared]] = {id(lane): [] for lane in lanes}
    ahead = {id(lane): iter(lane.work) for lane in lanes}
    sizes = {id(lane): len(next(ahead[id(lane)], ())) for lane in lanes}
    with closing(_answered(stops, read)) as answered:  # type: ignore[type-var]
        for lane, item in answered:
            batch = waiting[id(lane)]
            batch.append(item)
            lane.notes.update(item.outcome.notes)
            if len(batch) == sizes[id(lane)]:
                yield lane, batch
                waiting[id(lane)], sizes[id(lane)] = [], len(next(ahead[id(lane)], ()))


def _answered(stops: Sequence[_Stop], read: Read) -> Iterator[tuple[Lane, Prepared]]:
    answers = read(stop.order for stop in stops if stop.order is not None)
    with closing(answers):  # type: ignore[type-var]
        for stop in stops:
            answer = None if stop.order is None else next(answers)
            for lane, finding in stop.takers:
                if answer is not None:
                    yield lane, prepared(finding, answer[lane.encoder.modality])
                elif finding.status is not None:
                    yield lane, Prepared(finding, Outcome(None, finding.status, finding.reason))
                else:
                    yield lane, prepare_title(finding, lane.encoder)


def _stops(lanes: Sequence[Lane]) -> Iterator[_Stop]:
    streams = [zip(chain.from_iterable(lane.work), repeat(lane)) for lane in lanes]
    merged = (
        heapq.merge(*streams, key=lambda pair: _place(pair[0])) if len(streams) > 1 else streams[0]
    )
    for _, group in groupby(merged, key=lambda pair: _place(pair[0])):
        by_file: dict[Path | None, list[tuple[Lane, Finding]]] = {}
        for finding, lane in group:
            is_read = finding.status is None and finding.medium.path is not None
            by_file.setdefault(finding.medium.path if is_read else None, []).append((lane, finding))
        for path, takers in by_file.items():
            wanted = tuple(lane.encoder.modality for lane, _ in takers)
            yield _Stop(
                None if path is None else Order(path, takers[0][1].digest, wanted), tuple(takers)
            )


def _place(finding: Finding) -> tuple[bool, str]:
    return not finding.medium.is_named, finding.medium.item_id
