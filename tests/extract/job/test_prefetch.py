"""Preparing ahead keeps order, is bounded, and stops with the consumer."""

from __future__ import annotations

import threading

import pytest

from crossan.extract.job.prefetch import prepared_ahead


@pytest.mark.parametrize("worker_count", [0, 1, 4])
def test_results_come_batch_by_batch_in_order(worker_count):
    batches = [[1, 2, 3], [], [4], [5, 6]]
    assert list(prepared_ahead(batches, lambda x: x * x, worker_count)) == [[1, 4, 9], [], [16], [25, 36]]


def test_at_most_three_batches_are_prepared_before_the_first_is_taken():
    begun = []
    stream = prepared_ahead([[number] for number in range(50)], lambda x: begun.append(x) or x, 2)
    assert next(stream) == [0]
    stream.close()
    assert set(begun) <= {0, 1, 2}


@pytest.mark.parametrize("worker_count", [0, 2])
def test_an_error_reaches_the_consumer_when_its_batch_is_due(worker_count):
    def prepare(x):
        if x == 2:
            raise RuntimeError("two")
        return x

    stream = prepared_ahead([[1], [2], [3]], prepare, worker_count)
    assert next(stream) == [1]
    with pytest.raises(RuntimeError, match="two"):
        next(stream)


def test_closing_leaves_no_thread_behind():
    stream = prepared_ahead([[number] for number in range(9)], lambda x: x, 3)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("crossan-prepare")]
