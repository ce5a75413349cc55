"""How many bytes the storages of tensors hold, from when they are made until they are released.

torch is not imported here: whoever counts has it.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["StorageCount", "storage_key"]


class StorageCount:
    """Count the bytes of the storages of tensors that it is shown.

    Parameters
    ----------
    granule
        Bytes that an allocation is a multiple of.

    Attributes
    ----------
    live, peak
        Bytes held now, and at the most since the beginning or `forget_peak`.
    """

    def __init__(self, granule: int = 1) -> None:
        self.live, self.peak, self._granule = 0, 0, granule
        self._known: set[int] = set()

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage until it is released, once however many tensors share it."""
        storage, key = tensor.untyped_storage(), storage_key(tensor)
        if key in self._known:
            return
        self._known.add(key)
        size = -(-storage.nbytes() // self._granule) * self._granule
        self.live += size
        self.peak = max(self.peak, self.live)
        # No operator tells of a release: Python's finalizer of the storage does.
        weakref.finalize(storage, self._release, key, size).atexit = False

    def ignore(self, tensor: Tensor) -> None:
        """Leave a tensor's storage out of the count, as one that was there before."""
        key = storage_key(tensor)
        self._known.add(key)
        # Another storage may lie there later.
        weakref.finalize(tensor.untyped_storage(), self._known.discard, key).atexit = False

    def forget_peak(self) -> None:
        """Begin a new peak."""
        self.peak = self.live

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def storage_key(tensor: Tensor) -> int:
    """Return what tensors that share a storage have in common, as long as one of them lives."""
    return int(tensor.untyped_storage()._cdata)
