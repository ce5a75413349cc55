"""Buffers for gathered rows, used again as soon as nothing refers to them.

New memory for every step would cost page faults. It would also pile up in the
allocator, which keeps what one thread takes and another gives back.
"""

from __future__ import annotations

import math
import mmap
import weakref
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["StagingBuffers"]


class StagingBuffers:
    """As many buffers of one row shape and dtype as are in use at once.

    Parameters
    ----------
    row_shape, dtype
        Those of one row.
    row_count
        Rows that a buffer has room for. Where more are requested, a larger
        buffer is made.
    """

    def __init__(self, row_shape: tuple[int, ...], dtype: np.dtype[Any], row_count: int) -> None:
        self._row_shape, self._dtype, self._row_count = row_shape, dtype, row_count
        self._free: deque[npt.NDArray[Any]] = deque()

    def take(self, row_count: int) -> Tensor:
        """Return an uninitialised tensor ``(row_count, ...)``.

        Its buffer is free again once nothing refers to the tensor's storage.
        """
        self._row_count = max(self._row_count, row_count)
        # Not "if self._free": another thread may take the last one between the look and the pop.
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = self._make()
        if len(buffer) < row_count:
            buffer = self._make()
        # Nothing but the tensor's storage keeps this view alive, so the view's end is the moment
        # when the buffer may be used again.
        view = buffer[:row_count]
        weakref.finalize(view, self._free.append, buffer).atexit = False
        return torch.from_numpy(view)

    def _make(self) -> npt.NDArray[Any]:
        shape = (self._row_count, *self._row_shape)
        # Pages from the system, not from the allocator: all of them go back with the buffer.
        pages = mmap.mmap(-1, max(math.prod(shape) * self._dtype.itemsize, 1))
        return np.frombuffer(pages, self._dtype, math.prod(shape)).reshape(shape)
