"""Where tests write: in memory, where there is room, as most of them wait for disks and not for cores."""

from __future__ import annotations

import os
from pathlib import Path

MEMORY = Path("/dev/shm")
NEEDED = 8 << 30
"""A session has written up to 3 GiB; what a test keeps in memory itself comes on top."""


def write_in_memory():
    """Have pytest make its folders in memory, unless the user names a place or memory is short."""
    if not MEMORY.is_dir():
        return
    room = os.statvfs(MEMORY)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if min(room.f_bavail * room.f_frsize, free) >= NEEDED:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
