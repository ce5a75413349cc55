"""Stacking prepared items into a batch, and moving it to the device and its result back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Batch", "collate", "fetch_later", "within_memory"]

Result = TypeVar("Result")

_NO_MEMORY = (
    "can't allocate memory",  # torch on the CPU
    "not enough memory",
    "CUDA error: out of memory",  # pinned memory
    "_STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN
    "backend out of memory",  # MPS
)
"""How what has no exception type of its own says so, in a RuntimeError."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Stacked inputs by name; where there are sequences, ``attention_mask`` is 1 for what is real."""

    tensors: dict[str, Tensor]
    is_padded: bool
    """Whether any sequence is shorter than the longest."""


def collate(
    batch: Sequence[Mapping[str, npt.NDArray[Any]]], device: torch.device | None = None
) -> Batch:
    """Stack items on a new first axis, and move them to ``device``.

    Arrays of one axis are sequences: padded with zeros to the longest, with an
    ``attention_mask`` int64 ``(items, position)`` beside them. For CUDA the
    stack is made in pinned memory and the copy does not wait.
    """
    target = device or torch.device("cpu")
    lengths: list[int] | None = None
    stacked: dict[str, Tensor] = {}
    for name in batch[0]:
        arrays = [inputs[name] for inputs in batch]
        if arrays[0].ndim == 1:
            lengths = [len(array) for array in arrays]
            host = _host((len(arrays), max(lengths)), arrays[0].dtype, target)
            for row, array in zip(host.numpy(), arrays, strict=True):
                row[: len(array)], row[len(array) :] = array, 0
        else:
            host = _host((len(arrays), *arrays[0].shape), arrays[0].dtype, target)
            np.stack(arrays, out=host.numpy())
        stacked[name] = host.to(target, non_blocking=True)
    if lengths is None:
        return Batch(stacked, is_padded=False)
    real = _host((len(lengths),), np.dtype(np.int64), target)
    real.numpy()[:] = lengths
    positions = torch.arange(max(lengths), device=target)
    stacked["attention_mask"] = (positions < real.to(target, non_blocking=True)[:, None]).long()
    return Batch(stacked, is_padded=min(lengths) < max(lengths))


def _host(shape: tuple[int, ...], dtype: np.dtype[Any], target: torch.device) -> Tensor:
    torch_dtype = torch.from_numpy(np.empty(0, dtype)).dtype
    return torch.empty(shape, dtype=torch_dtype, pin_memory=target.type == "cuda")


def fetch_later(states: Tensor) -> Callable[[], npt.NDArray[np.float32]]:
    """Start the way back of a float32 result; the function returned waits for it and for nothing launched later."""
    if states.device.type != "cuda":
        return lambda: states.cpu().numpy()
    host = torch.empty(states.shape, dtype=states.dtype, pin_memory=True)
    with torch.cuda.device(states.device):
        host.copy_(states, non_blocking=True)
        copied = torch.cuda.Event(blocking=True)  # sleeps: the cores belong to the decoders
        copied.record()

    def fetch() -> npt.NDArray[np.float32]:
        copied.synchronize()
        return host.numpy()

    return fetch


def within_memory(work: Callable[[], Result], device: torch.device, what: str) -> Result:
    """Return ``work()``; torch's ways to be out of memory become a MemoryError, with the device's cache emptied.

    So that the caller can halve a batch and go on.

    Parameters
    ----------
    what
        What was being done, for the message.

    Raises
    ------
    MemoryError
        No memory left on ``device``, or on the host.
    """
    try:
        return work()
    except RuntimeError as error:
        said = str(error)
        if not isinstance(error, torch.OutOfMemoryError) and not any(
            sign in said for sign in _NO_MEMORY
        ):
            raise
    # Here, not in the clause above: until it is left, the error's traceback keeps the tensors of the failed forward.
    if device.type == "cuda":
        torch.cuda.empty_cache()
    raise MemoryError(f"no memory left on {device} for {what}: {said.splitlines()[0]}")
