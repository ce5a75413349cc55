"""Nothing that a run of these tests has started outlives its test."""

from __future__ import annotations

import pytest

from support.queued import kill_leftovers


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path):
    """End what goes on without its server, once the test is over."""
    yield
    kill_leftovers(tmp_path)
