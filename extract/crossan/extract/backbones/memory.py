"""Measure how much memory a piece of tensor work takes at its peak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from crossan.common.storages import StorageCount, storage_key

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
    made = _Made()
    with made:
        work()
    return made.storages.peak


class _Made(TorchDispatchMode):
    """Count the storages that operations made and nobody has released yet."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages = StorageCount()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operator gives
        """Run the operator and count the storages that it made."""
        del types
        leaves = tree_leaves((args, kwargs))
        given = {storage_key(leaf) for leaf in leaves if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            # A view shares the storage of an argument, and takes no memory of its own.
            if isinstance(leaf, Tensor) and storage_key(leaf) not in given:
                self.storages.add(leaf)
        return result
