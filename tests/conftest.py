"""What every test may ask for: the real data folder, where there is one; support/ has the rest."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from support.counts import EXAMPLES
from support.in_memory import write_in_memory

pytest_plugins = [
    "support.started",  # first, as others import it
    "support.forked",
    "support.once",
    "support.ordering",
    "support.selection",
    "support.ray_cluster",
    "support.servers",
]

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as a shell's background job begins; ours and our commands' tests need it
    signal.signal(signal.SIGINT, signal.default_int_handler)


write_in_memory()

# A busy machine is slow, not wrong: only pytest's own timeout ends a test.
settings.register_profile("patient", deadline=None, max_examples=EXAMPLES)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder `CROSSAN_TEST_DATA` names; skip loudly where it is not set."""
    named = os.environ.get("CROSSAN_TEST_DATA")
    if not named:
        pytest.skip("CROSSAN_TEST_DATA is not set: this test needs the real data folder")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"CROSSAN_TEST_DATA={named}: no such folder")
    return folder
