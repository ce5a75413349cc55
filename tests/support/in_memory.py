"""Where tests write: in memory, where there is room, as most of them wait for disks and not for cores."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
NEEDED = 6 << 30
"""A session's folders take 0.6 GiB at most; what tests keep in memory themselves comes on top."""


def write_in_memory():
    """Have pytest make its folders in memory, unless the user names a place or memory is short."""
    if not MEMORY.is_dir():
        return
    free = psutil.disk_usage(str(MEMORY)).free
    if min(free, psutil.virtual_memory().available) >= NEEDED:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
