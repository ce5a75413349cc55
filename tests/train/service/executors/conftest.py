"""An attempt whose processes do not outlive the test."""

from __future__ import annotations

import pytest

from crossan.train.service.executors.marked import kill_marked
from support.attempted import Case


@pytest.fixture
def case(tmp_path):
    """Return an attempt that has not started."""
    case = Case(tmp_path)
    yield case
    assert kill_marked(case.attempt.marker)
