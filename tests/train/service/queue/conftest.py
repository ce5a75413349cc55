"""Nothing that a test of the queue has started outlives it."""

from __future__ import annotations

import pytest

from support.queued import Queue, kill_leftovers


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Have the queue look more often than a server should, so that tests wait less."""
    for name, seconds in {"_BUSY": 0.03, "_REFUSED": 0.1, "_SHORTEST": 0.01}.items():
        monkeypatch.setattr(f"crossan.train.service.queue.scheduler.{name}_SECONDS", seconds)


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
