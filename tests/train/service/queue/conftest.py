"""Nothing that a test of the queue has started outlives it."""

from __future__ import annotations

import pytest

from support.queued import kill_leftovers


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path):
    """End what runs have left, once the test is over."""
    yield
    kill_leftovers(tmp_path)
