"""A process that never outlives the one that started it. Nothing here imports more than the standard library."""

from __future__ import annotations

import ctypes
import os
import signal

__all__ = ["end_with_parent"]

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def end_with_parent(parent: int) -> None:
    """Have the system kill this process when the thread that started it ends, however that ends.

    Parameters
    ----------
    parent
        Process id of the parent, as it told it to this process: one that ended before this call is noticed by it.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
