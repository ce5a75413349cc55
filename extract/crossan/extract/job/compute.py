"""The pipeline: workers read ahead, one thread forwards, one thread writes; queues between them are bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event

from crossan.common.console import Progress, note, progress
from crossan.common.stores import ItemRow, Journal
from crossan.extract.job.forward import Forward, Forwarded
from crossan.extract.job.lanes import Lane, prepared_batches
from crossan.extract.job.prepare import Prepared
from crossan.extract.job.report import Tally
from crossan.extract.job.stages import StageClock
from crossan.extract.job.writer import Writer
from crossan.extract.workers import Stopped, WorkerPool

__all__ = ["Stream", "compute"]

_ITEMS_PER_SEGMENT = 16_384
_SECONDS_PER_SEGMENT = 600.0
_BATCHES_AHEAD = 3
"""Batches being read while one is forwarded: bounds memory."""


@dataclass(eq=False)
class Stream:
    """One lane's way into its store."""

    lane: Lane
    journal: Journal
    stored_dtype: str
    publish: Callable[[], object]
    """Makes a segment and a version of what the journal holds."""
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        """Begin with a backbone that has forwarded nothing."""
        self.forward = Forward(self.lane.encoder)

    def write(self, forwarded: Forwarded) -> list[ItemRow]:
        """Wait for a batch's hidden states and journal them; publish when a segment is full or old."""
        rows = forwarded.rows(self.stored_dtype)
        self.journal.append(rows)
        self.tally.add(rows, forwarded.forwarded_count)
        if (
            self.journal.row_count >= _ITEMS_PER_SEGMENT
            or self.journal.age_seconds >= _SECONDS_PER_SEGMENT
        ):
            self.publish()
        return rows


def compute(
    streams: Sequence[Stream], pool: WorkerPool, clock: StageClock, told_to_end: Event
) -> None:
    """Do the batches of all lanes; return early, with whole batches, when told to end.

    Whatever ends it, what was forwarded before is journaled.

    Raises
    ------
    ResourceError
        No memory for a single item, no space on the disk, or no process to be had.
    """
    by_lane = {id(stream.lane): stream for stream in streams}
    names = ",".join(stream.lane.encoder.modality.value for stream in streams)
    total = sum(stream.lane.item_count for stream in streams)
    largest = max((len(findings) for stream in streams for findings in stream.lane.work), default=1)
    read = partial(pool.read, ahead=_BATCHES_AHEAD * largest)
    try:
        with clock.measure("computing"), progress(f"extract {names}", total, "items") as shown:
            writer: Writer[tuple[Stream, Forwarded]] = Writer(partial(_write, clock, shown))
            try:
                with closing(
                    prepared_batches([stream.lane for stream in streams], read)
                ) as batches:  # type: ignore[type-var]
                    for lane, batch in _awaited(batches, clock, told_to_end):
                        stream = by_lane[id(lane)]
                        with clock.measure("forwarding"):
                            forwarded = stream.forward.begin(batch)
                        with clock.measure("awaiting_writer"):
                            writer.put((stream, forwarded))
            finally:
                writer.close()
    finally:
        clock.reading = pool.busy_seconds
        done = sum(stream.tally.done for stream in streams)
        if done < total:
            note(f"extract {names}: stopped after {done:,} of {total:,} items, which are kept")


def _awaited(
    batches: Iterator[tuple[Lane, list[Prepared]]], clock: StageClock, told_to_end: Event
) -> Iterator[tuple[Lane, list[Prepared]]]:
    """Yield the batches until told to end, and measure how long each was waited for."""
    while not told_to_end.is_set():
        batch = None
        with clock.measure("awaiting_inputs"), suppress(Stopped):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _write(clock: StageClock, shown: Progress, batch: tuple[Stream, Forwarded]) -> None:
    stream, forwarded = batch
    with clock.measure("writing"):
        rows = stream.write(forwarded)
    shown.advance(len(rows), clock.to_text())
