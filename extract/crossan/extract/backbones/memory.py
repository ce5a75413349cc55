"""Measure how much memory a piece of tensor work takes at its peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["peak_bytes"]


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """Run ``work`` and return the most bytes that its tensors held at one time.

    On CUDA the allocator counts. Elsewhere each storage is followed from the
    operation that makes it to its release; scratch memory within one operation
    is not seen.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        # Kernels run behind the call: without the wait the peak is read too early.
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    storages = _Storages()
    with storages:
        work()
    peak: int = storages.peak
    return peak


class _Storages(TorchDispatchMode):
    """Count the bytes of storages that operations made and nobody has released yet."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live, self.peak = 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operator gives
        """Run the operator and note the storages that it made."""
        del types
        given = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            # A view shares the storage of an argument, and takes no memory of its own.
            if isinstance(leaf, Tensor) and _key(leaf) not in given | self._known:
                self._note(leaf)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        self._known.add(key)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        # No operator tells of a release: Python's finalizer of the storage does.
        weakref.finalize(storage, self._release, key, storage.nbytes())

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
