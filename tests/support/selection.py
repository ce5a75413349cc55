"""Which tests an ordinary session leaves to ``make test-all``: those marked ``exhaustive``."""

from __future__ import annotations

import pytest

from support.counts import RUNS_ALL


def beyond(count, values):
    """Return the values of one parameter; all after the first ``count`` are exhaustive."""
    rest = [pytest.param(value, marks=pytest.mark.exhaustive) for value in values[count:]]
    return [*values[:count], *rest]


def pytest_collection_modifyitems(config, items):
    """Leave out what is exhaustive, unless somebody names a test or a mark."""
    is_named = config.option.markexpr or any("::" in name for name in config.args)
    if RUNS_ALL or is_named:
        return
    left = [item for item in items if item.get_closest_marker("exhaustive")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
