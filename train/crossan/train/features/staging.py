"""Buffers for gathered rows that are used again as soon as nothing refers to them any more.

Taken anew for every step they would cost page faults, and what one thread
takes and another gives back stays with the allocator: more than the rows.
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
    """Buffers of one row shape and dtype; as many as are in use at once.

    Parameters
    ----------
    row_shape, dtype
        Of a row.
    row_count
        Rows that a buffer has room for; one that needs more is made when it is asked for.
    """

    def __init__(self, row_shape: tuple[int, ...], dtype: np.dtype[Any], row_count: int) -> None:
        self._row_shape, self._dtype, self._row_count = row_shape, dtype, row_count
        self._free: deque[npt.NDArray[Any]] = deque()

    def take(self, row_count: int) -> Tensor:
        """Return a tensor ``(row_count, ...)`` of anything; its buffer is free again when its storage is let go."""
        self._row_count = max(self._row_count, row_count)
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = self._make()
        if len(buffer) < row_count:
            buffer = self._make()
        view = buffer[:row_count]  # the tensor's storage keeps it alive, and nothing else does
        weakref.finalize(view, self._free.append, buffer).atexit = False
        return torch.from_numpy(view)

    def _make(self) -> npt.NDArray[Any]:
        shape = (self._row_count, *self._row_shape)
        # Pages of its own, not the allocator's: all of them go back when the buffer does.
        pages = mmap.mmap(-1, max(math.prod(shape) * self._dtype.itemsize, 1))
        return np.frombuffer(pages, self._dtype, math.prod(shape)).reshape(shape)
