"""How many times a test tries: few in the ordinary suite, more in ``make test-all``, most with ``CROSSAN_FAULTS=full``."""

from __future__ import annotations

import os

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
RUNS_ALL = IS_FULL or os.environ.get("CROSSAN_TESTS") == "all"

EXAMPLES = 100 if IS_FULL else 30
"""Of a Hypothesis property that states no number; each session draws others."""


def of_full(full, ordinary):
    """Return how many: ``full`` with ``CROSSAN_FAULTS=full``, else ``ordinary``."""
    return full if IS_FULL else ordinary
