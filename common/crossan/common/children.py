"""A process that never outlives the one that started it.

Nothing here imports more than the standard library, as every child pays for its imports.
"""

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
        Process id of the parent, which it handed to this process when it started it.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    # A parent that ended before the call above sends no signal any more. The process has been
    # handed to another parent then, which shows in the id.
    if os.getppid() != parent:
        os._exit(0)
