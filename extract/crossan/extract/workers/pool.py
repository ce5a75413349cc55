"""The job's side of its workers: orders go out ahead of the answers, which come back in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from crossan.cache_schema.modality import Modality
from crossan.extract.media import MediaFault
from crossan.extract.workers.item import ItemReader, Order, Outcome, lost
from crossan.extract.workers.worker import Limits, Lost, Worker

__all__ = ["Limits", "Stopped", "WorkerPool"]

Answer = dict[Modality, Outcome]

_ATTEMPTS = 3
"""How many workers may die over one item before it is taken for the cause."""

_ORDERS_EACH = 2
"""One that a worker reads, and one that waits for it."""


_SECONDS_BETWEEN_LOOKS = 0.2


class Stopped(Exception):  # noqa: N818 - as asked for
    """The consumer was told to end while it waited for an answer."""


class WorkerPool:
    """Some worker processes and one thread for each, which hands it orders and starts it anew when it dies.

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

    def read(self, orders: Iterable[Order], ahead: int) -> Iterator[Answer]:
        """Yield an answer for each order, in order; at most ``ahead`` are read before they are taken.

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
        desk = _Desk(iter(orders), max(ahead, self._worker_count * _ORDERS_EACH))
        hands = [_Hand(self, desk) for _ in range(self._worker_count)]
        threads = ThreadPoolExecutor(self._worker_count, thread_name_prefix="crossan-worker")
        try:
            for hand in hands:
                threads.submit(hand.run).add_done_callback(desk.note_end)
            yield from desk.answers(self._told_to_end)
        finally:
            desk.close()
            for hand in hands:
                hand.stop()
            threads.shutdown()

    def start_worker(self) -> Worker:
        """Start one more worker process."""
        return Worker(self._reader, self._limits)


class _Hand:
    """Keeps one worker busy, in a thread of its own."""

    def __init__(self, pool: WorkerPool, desk: _Desk) -> None:
        self._pool, self._desk = pool, desk
        self._worker: Worker | None = None
        self._held: deque[tuple[int, Order]] = deque()
        self._deaths = 0  # over the first of the held orders

    def run(self) -> None:
        """Serve until no order is left, or somebody closes the desk."""
        try:
            while self._hold_orders():
                try:
                    self._serve()
                except Lost as loss:
                    self._give_up_or_retry(loss)
        finally:
            self._end_worker()

    def stop(self) -> None:
        """End the worker, whatever it is doing; the desk must be closed."""
        worker = self._worker
        if worker is not None:
            worker.kill()

    def _hold_orders(self) -> bool:
        while len(self._held) < _ORDERS_EACH:
            taken = self._desk.take(is_patient=not self._held)
            if taken is None:
                break
            self._held.append(taken)
            if self._worker is not None:
                self._worker.post(taken[1])
        return bool(self._held) and not self._desk.is_closed

    def _serve(self) -> None:
        """Take the answer to the first of the held orders."""
        if self._worker is None:
            self._worker = self._pool.start_worker()
            if self._desk.is_closed:  # and `stop` may have come before there was a worker to end
                return
            for _, order in self._held:
                self._worker.post(order)
        answer, seconds = self._worker.take_answer(self._held[0][1])
        self._settle(answer, seconds)

    def _settle(self, answer: Answer, seconds: float) -> None:
        number, _ = self._held.popleft()
        self._deaths = 0
        with self._desk.lock:
            self._pool.busy_seconds += seconds
        self._desk.put(number, answer)

    def _give_up_or_retry(self, loss: Lost) -> None:
        """Blame the item when its limits ended the worker, or one worker after the other died over it."""
        self._end_worker()
        if self._desk.is_closed:
            return
        self._deaths += 1
        with self._desk.lock:
            self._pool.lost_count += 1
        if loss.fault is not MediaFault.CRASHED or self._deaths == _ATTEMPTS:
            self._settle(lost(self._held[0][1], f"{loss.fault.value}: {loss}"), loss.seconds)

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


class _Desk:
    """Orders not yet handed out and answers not yet taken, for one consumer and any number of hands."""

    def __init__(self, orders: Iterator[Order], ahead: int) -> None:
        self.lock = threading.RLock()
        self.is_closed = False
        self._changed = threading.Condition(self.lock)
        self._orders, self._ahead = orders, ahead
        self._handed_out = self._taken = 0
        self._is_exhausted = False
        self._answers: dict[int, Answer] = {}
        self._error: BaseException | None = None

    def take(self, *, is_patient: bool) -> tuple[int, Order] | None:
        """Return the next order and its number; None where there is none left or, without patience, none to be had now."""
        with self._changed:
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
        """Lay down the answer to an order."""
        with self._changed:
            self._answers[number] = answer
            self._changed.notify_all()

    def note_end(self, hand: Future[None]) -> None:
        """Let the consumer raise what a hand ended with, if it was an error."""
        with self._changed:
            self._error = self._error or hand.exception()
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def answers(self, told_to_end: threading.Event) -> Iterator[Answer]:
        """Yield the answers in the order of the orders; raise `Stopped` instead of waiting once told to end."""
        while True:
            with self._changed:
                while self._taken not in self._answers:
                    if self._error is not None:
                        raise self._error
                    if self._is_exhausted and self._taken == self._handed_out:
                        return
                    if told_to_end.is_set():
                        raise Stopped
                    self._changed.wait(_SECONDS_BETWEEN_LOOKS)
                answer = self._answers.pop(self._taken)
                self._taken += 1
                self._changed.notify_all()
            yield answer
