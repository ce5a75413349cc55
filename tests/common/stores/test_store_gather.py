"""Work shared between threads: each task once, the earliest error, no waiting for a thread that does not come."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.common.stores import gather
from crossan.common.stores.gather import on_all_cores, take_rows
from support.started import CEILING_S


@pytest.fixture(autouse=True)
def three_cores(monkeypatch):
    monkeypatch.setattr(gather, "core_count", lambda: 3)


@settings(deadline=None)
@given(st.integers(0, 40))
def test_each_task_is_done_once(count):
    done = []
    on_all_cores(done.append, range(count))
    assert sorted(done) == list(range(count))


@settings(deadline=None)
@given(st.sets(st.integers(0, 29), min_size=1))
def test_the_error_of_the_earliest_task_is_raised(failing):
    def work(number):
        if number in failing:
            raise ValueError(number)

    with pytest.raises(ValueError, match=f"^{min(failing)}$"):
        on_all_cores(work, range(30))


def test_threads_that_are_busy_hold_nobody_up():
    until, begun = threading.Event(), threading.Barrier(gather._pool()._max_workers + 1)

    def occupy():
        begun.wait(CEILING_S)
        return until.wait(CEILING_S)

    busy = [gather._pool().submit(occupy) for _ in range(gather._pool()._max_workers)]
    begun.wait(CEILING_S)
    done = []
    on_all_cores(done.append, range(9))
    assert done == list(range(9))
    until.set()
    assert [found.result() for found in busy] == [True] * len(busy)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 6), max_size=30), st.sampled_from([np.float16, np.float32, np.uint16])
)
def test_rows_are_taken_as_indexing_takes_them(places, dtype):
    source = np.random.default_rng(0).integers(0, 99, (7, 2, 150_000)).astype(dtype)
    out = np.empty((len(places), 2, 150_000), dtype)
    take_rows(source, np.array(places, np.int64), out)
    np.testing.assert_array_equal(out, source[np.array(places, np.int64)])
