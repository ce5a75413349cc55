"""The writer keeps order, waits, and hands its error to the job."""

from __future__ import annotations

import threading
import time

import pytest

from crossan.extract.job.writer import Writer
from support.started import CEILING_S


def test_batches_are_written_in_order_in_another_thread():
    written = []
    writer = Writer(lambda batch: written.append((batch, threading.current_thread())))
    for number in range(20):
        writer.put(number)
    writer.close()
    assert [number for number, _ in written] == list(range(20))
    assert all(thread is not threading.current_thread() for _, thread in written)


def test_at_most_two_batches_are_in_its_hands():
    go_on = threading.Event()
    written = []
    writer = Writer(lambda batch: (go_on.wait(CEILING_S), written.append(batch)))
    writer.put(1)
    writer.put(2)
    third = threading.Thread(target=writer.put, args=(3,))
    third.start()
    time.sleep(0.05)
    assert third.is_alive()
    go_on.set()
    third.join(CEILING_S)
    writer.close()
    assert written == [1, 2, 3]


def test_an_error_is_raised_by_the_next_batch_or_at_the_end_and_nothing_is_written_after_it():
    written = []

    def write(batch):
        if batch == 2:
            raise OSError(28, "No space left on device")
        written.append(batch)

    for is_put in (True, False):
        written.clear()
        writer = Writer(write)
        writer.put(1)
        writer.put(2)
        if is_put:
            with pytest.raises(OSError, match="No space"):
                _put_until_it_fails(writer)
        with pytest.raises(OSError, match="No space"):
            writer.close()
        assert written == [1]


def _put_until_it_fails(writer):
    for number in range(3, 10):
        writer.put(number)
