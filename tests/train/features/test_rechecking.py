"""The comparison in the background: what it finds, when it rests, and that its thread ends."""

import threading

import pytest

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.train.features import rechecking
from crossan.train.features.rechecking import Rechecking


def thread_names():
    return [thread.name for thread in threading.enumerate()]


def chunks(count, taken, bad=None):
    """Take a note of each chunk and of the thread that compares it."""
    for number in range(count):
        if number == bad:
            raise StoreIntegrityError(f"chunk {number} is bad")
        taken.append((number, threading.current_thread().name))
        yield 1


def test_nothing_to_compare_needs_no_thread():
    with Rechecking(None) as nothing:
        assert "crossan-recheck" not in thread_names()
        nothing.look()
        nothing.finish()


def test_every_chunk_is_compared_once_by_whichever_thread(monkeypatch):
    for rest in (0.0, 1e9):  # without rest the thread takes all, with it the caller most
        monkeypatch.setattr(rechecking, "_REST", rest)
        taken = []
        with Rechecking(chunks(50, taken)) as running:
            running.finish()
        assert [number for number, _ in taken] == list(range(50))
        assert taken[-1][1] == "MainThread" or rest == 0.0
    assert "crossan-recheck" not in thread_names()


@pytest.mark.parametrize("rest", [0.0, 1e9])
def test_a_bad_chunk_is_raised_where_the_epoch_ends(monkeypatch, rest):
    monkeypatch.setattr(rechecking, "_REST", rest)
    with Rechecking(chunks(5, [], bad=3)) as running, pytest.raises(StoreIntegrityError, match="3"):
        running.finish()
    assert "crossan-recheck" not in thread_names()


def test_a_bad_chunk_is_seen_before_the_epoch_ends():
    with Rechecking(chunks(5, [], bad=0)) as running:
        running._thread.join()
        with pytest.raises(StoreIntegrityError, match="chunk 0 is bad"):
            running.look()


def test_an_epoch_that_is_broken_off_does_not_wait_for_the_rest(monkeypatch):
    monkeypatch.setattr(rechecking, "_REST", 1e9)
    taken = []
    with pytest.raises(KeyboardInterrupt), Rechecking(chunks(10**9, taken)):
        raise KeyboardInterrupt
    assert len(taken) <= 2
    assert "crossan-recheck" not in thread_names()
