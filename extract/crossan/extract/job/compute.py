"""The pipeline from media to a store.

Workers read ahead, one thread launches forwards and another waits for them and
writes. The queues between them are bounded, so the slowest of the three sets the
pace and the memory stays the same. Where a device computes, the launching thread
waits for no forward: it copies the next batch, and the one after it, meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event

from crossan.common.console import Progress, note, progress
from crossan.common.stores import ItemRow, Journal
from crossan.extract.backbones.launched import States
from crossan.extract.job.forward import Forward, Forwarded
from crossan.extract.job.lanes import Lane, prepared_batches
from crossan.extract.job.prepare import Prepared
from crossan.extract.job.report import Tally
from crossan.extract.job.spread import Spread
from crossan.extract.job.stages import StageClock
from crossan.extract.job.writer import Writer
from crossan.extract.workers import Stopped, WorkerPool

__all__ = ["Stream", "compute"]

_ITEMS_PER_SEGMENT = 16_384
_SECONDS_PER_SEGMENT = 600.0
_BATCHES_AHEAD = 3
"""Batches being read while one is forwarded; more would only take memory."""


@dataclass(eq=False)
class Stream:
    """One lane's way into its store."""

    lane: Lane
    journal: Journal
    stored_dtype: str
    publish: Callable[[], object]
    """Make a segment and a version of what the journal holds."""
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        """Begin with a backbone that has forwarded nothing."""
        encoder = self.lane.encoder
        self.forward = Forward(encoder)
        self.spread = Spread(encoder.layers, encoder.dim, self.lane.item_count)

    def write(self, forwarded: Forwarded, states: States | None) -> list[ItemRow]:
        """Journal a batch's hidden states.

        A segment that is full or old is published.

        Parameters
        ----------
        states
            What the batch's `Forwarded.fetch` gave.
        """
        rows = forwarded.rows(states, self.stored_dtype, self.spread)
        self.journal.append(rows)
        # Counted after the append: the report tells of rows that an interruption cannot lose.
        self.tally.add(rows, forwarded.forwarded_count)
        is_full = self.journal.row_count >= _ITEMS_PER_SEGMENT
        # By age too, so that others see the progress of a slow job.
        if is_full or self.journal.age_seconds >= _SECONDS_PER_SEGMENT:
            self.publish()
        return rows


def compute(
    streams: Sequence[Stream], pool: WorkerPool, clock: StageClock, told_to_end: Event
) -> None:
    """Do the batches of all lanes.

    Returns early when told to end, with whole batches. Whatever ends it, what was
    forwarded before is journaled.

    Raises
    ------
    ResourceError
        No memory for a single item, no space on the disk, or no process could be started.
    """
    by_lane = {stream.lane: stream for stream in streams}
    names = ",".join(stream.lane.encoder.modality.value for stream in streams)
    total = sum(stream.lane.item_count for stream in streams)
    largest = max((len(findings) for stream in streams for findings in stream.lane.work), default=1)
    read = partial(pool.read, ahead=_BATCHES_AHEAD * largest)
    lanes = [stream.lane for stream in streams]
    try:
        with clock.measure("computing"), progress(f"extract {names}", total, "items") as shown:
            writer: Writer[tuple[Stream, Forwarded]] = Writer(partial(_write, clock, shown))
            try:
                # Closed here, not when it is garbage collected: after an error the workers behind
                # it must end.
                with closing(prepared_batches(lanes, read)) as batches:  # type: ignore[type-var]
                    for lane, batch in _awaited(batches, clock, told_to_end):
                        stream = by_lane[lane]
                        with clock.measure("launching"):
                            forwarded = stream.forward.begin(batch)
                        with clock.measure("awaiting_writer"):
                            writer.put((stream, forwarded))
            finally:
                # Even after an error: what was forwarded before it is worth keeping.
                writer.close()
    finally:
        clock.reading = pool.busy_seconds
        done = sum(stream.tally.done for stream in streams)
        if done < total:
            note(f"extract {names}: stopped after {done:,} of {total:,} items, which are kept")


def _awaited(
    batches: Iterator[tuple[Lane, list[Prepared]]], clock: StageClock, told_to_end: Event
) -> Iterator[tuple[Lane, list[Prepared]]]:
    """Yield the batches until told to end, and measure the wait for each."""
    while not told_to_end.is_set():
        batch = None
        with clock.measure("awaiting_inputs"), suppress(Stopped):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _write(clock: StageClock, shown: Progress, batch: tuple[Stream, Forwarded]) -> None:
    stream, forwarded = batch
    with clock.measure("awaiting_device"):
        states = forwarded.fetch()
    clock.forwarding += forwarded.seconds
    with clock.measure("writing"):
        rows = stream.write(forwarded, states)
    shown.advance(len(rows), clock.to_text())
