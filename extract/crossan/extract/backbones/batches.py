"""Stack prepared items into a batch, and make a model's arguments of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from crossan.common.memory import first_line, ran_out_of_memory

__all__ = ["Batch", "collate", "model_arguments", "to_model_inputs", "within_memory"]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Batch:
    """The stacked inputs of several items."""

    tensors: dict[str, Tensor]
    """By name; where there are sequences, ``attention_mask`` is 1 for what is real."""
    is_padded: bool
    """Whether any sequence is shorter than the longest."""


def collate(
    batch: Sequence[Mapping[str, npt.NDArray[Any]]], device: torch.device | None = None
) -> Batch:
    """Stack items on a new first axis, and move them to ``device``.

    Arrays of one axis are sequences. They are padded with zeros to the longest,
    and an ``attention_mask`` int64 ``(items, position)`` comes with them. For
    CUDA the stack is made in pinned memory and the copy does not wait.
    """
    target = device or torch.device("cpu")
    lengths: list[int] | None = None
    stacked: dict[str, Tensor] = {}
    for name in batch[0]:
        arrays = [inputs[name] for inputs in batch]
        if arrays[0].ndim == 1:
            lengths = [len(array) for array in arrays]
            host = _host((len(arrays), max(lengths)), arrays[0].dtype, target)
            # The memory is not zeroed when it is made, so each row gets its padding here.
            for row, array in zip(host.numpy(), arrays, strict=True):
                row[: len(array)] = array
                row[len(array) :] = 0
        else:
            host = _host((len(arrays), *arrays[0].shape), arrays[0].dtype, target)
            np.stack(arrays, out=host.numpy())
        stacked[name] = host.to(target, non_blocking=True)
    if lengths is None:
        return Batch(stacked, is_padded=False)
    real_counts = _host((len(lengths),), np.dtype(np.int64), target)
    real_counts.numpy()[:] = lengths
    # The mask is compared on the device: only the lengths travel, not a mask as large as the ids.
    counts = real_counts.to(target, non_blocking=True)[:, None]
    stacked["attention_mask"] = (torch.arange(max(lengths), device=target) < counts).long()
    return Batch(stacked, is_padded=min(lengths) < max(lengths))


def to_model_inputs(
    batch: Sequence[Mapping[str, npt.NDArray[Any]]],
    finish: nn.Module | None,
    finish_device: torch.device,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return what a model takes for some items, and the mask of their real positions.

    Parameters
    ----------
    batch
        Arrays of each item by name.
    finish, device, dtype
        As for `model_arguments`.
    finish_device
        Where ``finish`` is computed.
    """
    return model_arguments(collate(batch, finish_device), finish, device, dtype)


def model_arguments(
    batch: Batch, finish: nn.Module | None, device: torch.device, dtype: torch.dtype
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return what a model takes for a batch, and the mask of its real positions.

    Parameters
    ----------
    batch
        On the device where ``finish`` is computed.
    finish
        Batched tensors to the model's arguments, None where they are these already.
    device
        Where the model is.
    dtype
        Of the numbers that are no integers.
    """
    tensors = batch.tensors if finish is None else finish(batch.tensors)
    inputs = {
        name: tensor.to(device, dtype if tensor.is_floating_point() else None)
        for name, tensor in tensors.items()
    }
    is_real = inputs.get("attention_mask")
    # Attention takes its fastest kernel only without a mask: give one where it hides something.
    if not batch.is_padded:
        inputs.pop("attention_mask", None)
    return inputs, is_real


def _host(shape: tuple[int, ...], dtype: np.dtype[Any], target: torch.device) -> Tensor:
    """Return uninitialised host memory from which a copy to ``target`` is quick."""
    torch_dtype = torch.from_numpy(np.empty(0, dtype)).dtype
    # Only from pinned memory does a copy to CUDA run beside the work that follows.
    return torch.empty(shape, dtype=torch_dtype, pin_memory=target.type == "cuda")


def within_memory(work: Callable[[], Result], device: torch.device, what: str) -> Result:
    """Return ``work()``, and raise MemoryError for any of torch's ways to be out of memory.

    The device's cache is emptied, so that the caller can halve a batch and go on.

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
        if not ran_out_of_memory(error):
            raise
        reason = first_line(error)
    # Not in the clause above: until that is left, the error's traceback keeps the tensors of the
    # failed forward, and the cache could not be emptied of them.
    if device.type == "cuda":
        torch.cuda.empty_cache()
    raise MemoryError(f"no memory left on {device} for {what}: {reason}")
