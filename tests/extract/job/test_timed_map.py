"""Results come in order, and a call that does not return costs its own item only."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.extract.job import timed_map as module
from crossan.extract.job.timed_map import timed_map


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(), max_size=30), st.integers(1, 5))
def test_the_results_are_those_of_map(items, thread_count):
    assert list(timed_map(lambda x: 2 * x, items, thread_count, 60.0)) == [2 * x for x in items]


@pytest.mark.parametrize("thread_count", [1, 3])
def test_calls_that_do_not_return_are_given_up(monkeypatch, thread_count):
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LOOKS", 0.01)
    released = threading.Event()

    def call(item):
        if item in (1, 2, 5):
            released.wait()
        return item

    try:
        results = list(timed_map(call, range(7), thread_count, 0.05))
    finally:
        released.set()
    assert results == [0, None, None, 3, 4, None, 6]


def test_an_error_is_raised_at_its_turn():
    results = timed_map(lambda x: 1 // x, [1, 0, 1], 2, 60.0)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_thread_is_left_when_the_consumer_goes_away():
    before = set(threading.enumerate())
    results = timed_map(lambda x: x, range(1_000), 3, 60.0)
    assert next(results) == 0
    results.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(10.0)
        assert not thread.is_alive()
