"""Nothing that a test of the queue has started outlives it."""

from __future__ import annotations

import pytest

from support.queued import Queue, kill_leftovers


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path):
    """End what runs have left, once the test is over."""
    yield
    kill_leftovers(tmp_path)


@pytest.fixture
def queue(tmp_path):
    opened = Queue(tmp_path / "service").start()
    yield opened
    opened.cancel_all()
    opened.close()
