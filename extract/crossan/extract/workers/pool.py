"""Hand orders to worker processes ahead of the answers, which come back in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from crossan.cache_schema.modality import Modality
from crossan.extract.media.faults import MediaFault
from crossan.extract.workers.item import DecodeOrder, ItemReader, MediumOutcome, same_for_all
from crossan.extract.workers.worker import Limits, LostWorker, Worker

__all__ = ["Limits", "Stopped", "WorkerPool"]

Answer = dict[Modality, MediumOutcome]

_ATTEMPTS = 3
"""How many workers may die over one item before it is taken for the cause."""

_ORDERS_EACH = 2
"""One that a worker reads, and one in its socket so that the worker need not wait."""

_SECONDS_BETWEEN_LOOKS = 0.2


class Stopped(Exception):  # noqa: N818 - not an error
    """The consumer was told to end while it waited for an answer."""


class WorkerPool:
    """Some worker processes with a thread for each.

    The thread hands its worker orders, and starts a new one when it dies.

    Parameters
    ----------
    reader
        What the workers do; it must be picklable.
    worker_count
        Processes; 0 reads in the calling thread, without limits.
    limits
        What one item may cost.
    told_to_end
        Ends the wait for an answer, however long the item may still take.
    """

    def __init__(
        self,
        reader: ItemReader,
        worker_count: int,
        limits: Limits,
        told_to_end: threading.Event | None = None,
    ) -> None:
        self._reader, self._limits, self._worker_count = reader, limits, worker_count
        self._told_to_end = told_to_end or threading.Event()
        self.busy_seconds = 0.0
        """Wall time that the workers spent on items, added up over the workers."""
        self.lost_count = 0
        """Workers that died or were ended over an item."""

    def read(self, orders: Iterable[DecodeOrder], ahead: int) -> Iterator[Answer]:
        """Yield an answer for each order, in order.

        Parameters
        ----------
        ahead
            Most orders that are read before their answers are taken.

        Raises
        ------
        RuntimeError
            A worker met a bug; the message holds its traceback.
        ResourceError
            No worker can be started.
        Stopped
            Told to end.
        """
        if self._worker_count == 0:
            yield from map(self._reader.read, orders)
            return
        exchange = _Exchange(iter(orders), max(ahead, self._worker_count * _ORDERS_EACH))
        feeders = [_Feeder(self, exchange) for _ in range(self._worker_count)]
        threads = ThreadPoolExecutor(self._worker_count, thread_name_prefix="crossan-worker")
        try:
            for feeder in feeders:
                threads.submit(feeder.run).add_done_callback(exchange.note_end)
            yield from exchange.answers(self._told_to_end)
        finally:
            # In this order: a feeder whose worker is ended would start another while the exchange
            # is open, and the threads end only once their workers have.
            exchange.close()
            for feeder in feeders:
                feeder.stop()
            threads.shutdown()

    def start_worker(self) -> Worker:
        """Start one more worker process."""
        return Worker(self._reader, self._limits)


class _Feeder:
    """Keeps one worker busy, in a thread of its own."""

    def __init__(self, pool: WorkerPool, exchange: _Exchange) -> None:
        self._pool, self._exchange = pool, exchange
        self._worker: Worker | None = None
        self._held: deque[tuple[int, DecodeOrder]] = deque()
        self._deaths = 0
        """Workers that died over the first of the held orders."""

    def run(self) -> None:
        """Serve until no order is left, or somebody closes the exchange."""
        try:
            while self._hold_orders():
                try:
                    self._serve()
                except LostWorker as loss:
                    self._give_up_or_retry(loss)
        finally:
            self._end_worker()

    def stop(self) -> None:
        """End the worker, whatever it is doing.

        The exchange must be closed, or the feeder starts another.
        """
        # Held in a variable, for the feeder's own thread may set the attribute to None meanwhile.
        worker = self._worker
        if worker is not None:
            worker.kill()

    def _hold_orders(self) -> bool:
        # With an order in hand the feeder has an answer to wait for, so it is patient only without.
        while len(self._held) < _ORDERS_EACH:
            taken = self._exchange.take(is_patient=not self._held)
            if taken is None:
                break
            self._held.append(taken)
            if self._worker is not None:
                self._worker.post(taken[1])
        return bool(self._held) and not self._exchange.is_closed

    def _serve(self) -> None:
        """Take the answer to the first of the held orders."""
        if self._worker is None:
            self._worker = self._pool.start_worker()
            # stop() may have come before there was a worker to end.
            if self._exchange.is_closed:
                return
            for _, order in self._held:
                self._worker.post(order)
        answer, seconds = self._worker.take_answer(self._held[0][1])
        self._settle(answer, seconds)

    def _settle(self, answer: Answer, seconds: float) -> None:
        number, _ = self._held.popleft()
        self._deaths = 0
        with self._exchange.lock:
            self._pool.busy_seconds += seconds
        self._exchange.put(number, answer)

    def _give_up_or_retry(self, loss: LostWorker) -> None:
        """Blame the item where its limits ended the worker, or several workers died over it."""
        self._end_worker()
        if self._exchange.is_closed:
            return
        self._deaths += 1
        with self._exchange.lock:
            self._pool.lost_count += 1
        # A crash may be the machine's doing, short of memory for instance; a limit is the item's.
        if loss.fault is not MediaFault.CRASHED or self._deaths == _ATTEMPTS:
            self._settle(
                same_for_all(self._held[0][1], f"{loss.fault.value}: {loss}"), loss.seconds
            )

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


class _Exchange:
    """Orders not yet handed out and answers not yet taken.

    One consumer takes the answers, any number of feeders take the orders.
    """

    def __init__(self, orders: Iterator[DecodeOrder], ahead: int) -> None:
        self.lock = threading.RLock()
        self.is_closed = False
        self._changed = threading.Condition(self.lock)
        self._orders, self._ahead = orders, ahead
        self._handed_out = self._taken = 0
        self._is_exhausted = False
        self._answers: dict[int, Answer] = {}
        self._error: BaseException | None = None

    def take(self, *, is_patient: bool) -> tuple[int, DecodeOrder] | None:
        """Return the next order and its number, None where none is left.

        Without patience None also stands for an order that cannot be handed out yet.
        """
        with self._changed:
            # The bound is on what was handed out and not yet taken, so that a slow item at the
            # front does not let the answers behind it fill the memory.
            while not self.is_closed and not self._is_exhausted:
                if self._handed_out - self._taken < self._ahead:
                    order = next(self._orders, None)
                    if order is None:
                        self._is_exhausted = True
                        self._changed.notify_all()
                        return None
                    self._handed_out += 1
                    return self._handed_out - 1, order
                if not is_patient:
                    return None
                self._changed.wait()
            return None

    def put(self, number: int, answer: Answer) -> None:
        """Store the answer to an order."""
        with self._changed:
            self._answers[number] = answer
            self._changed.notify_all()

    def note_end(self, feeder: Future[None]) -> None:
        """Let the consumer raise the error that a feeder ended with, if any."""
        with self._changed:
            self._error = self._error or feeder.exception()
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def answers(self, told_to_end: threading.Event) -> Iterator[Answer]:
        """Yield the answers in the order of the orders.

        Raises
        ------
        Stopped
            Told to end, where the next answer is not there yet.
        """
        while True:
            with self._changed:
                while self._taken not in self._answers:
                    if self._error is not None:
                        raise self._error
                    if self._is_exhausted and self._taken == self._handed_out:
                        return
                    if told_to_end.is_set():
                        raise Stopped
                    # With a time limit, because a signal's handler sets the event and notifies
                    # nobody here.
                    self._changed.wait(_SECONDS_BETWEEN_LOOKS)
                answer = self._answers.pop(self._taken)
                self._taken += 1
                self._changed.notify_all()
            yield answer
