"""Shapes of what operators that work number by number return, and sums over axes.

All tensors are on torch's meta device, where they have no numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._ops import OpOverload

__all__ = [
    "broadcast_shape",
    "common_dtype",
    "like",
    "new",
    "pointwise",
    "reduced",
    "reduced_to_bool",
    "vector_norm",
]

_COMPARISONS = {
    f"aten::{name}"
    for name in (
        *("eq", "ne", "lt", "le", "gt", "ge", "isfinite", "isnan", "isinf"),
        *("logical_and", "logical_or", "logical_not", "logical_xor"),
    )
}
_OF_FIRST = {f"aten::{name}" for name in ("masked_fill", "threshold_backward", "fill")}
"""Pointwise operators whose result has the dtype of their first argument."""


def pointwise(func: OpOverload, args: Sequence[Any]) -> Tensor:
    """Return the result of an operator that works number by number."""
    tensors = [each for each in args if isinstance(each, Tensor)]
    name = func._schema.name
    if name in _COMPARISONS:
        dtype = torch.bool
    elif name in _OF_FIRST:
        dtype = tensors[0].dtype
    else:
        dtype = common_dtype(args[1:] if name == "aten::where" else args)
    shape = broadcast_shape(tensors)
    alike = [each for each in tensors if each.shape == shape]
    return like(alike[0], dtype) if alike else new(shape, dtype)


def common_dtype(args: Sequence[Any]) -> torch.dtype:
    """Return what torch promotes tensors to. A number weighs less than any of them."""
    tensors = [each for each in args if isinstance(each, Tensor)]
    # Of tensors without axes the same is true beside those that have some.
    weighty = [each for each in tensors if each.ndim] or tensors
    dtype = weighty[0].dtype
    for other in weighty[1:]:
        dtype = torch.promote_types(dtype, other.dtype)
    others = [each for each in args if isinstance(each, float)]
    if others and not dtype.is_floating_point and not dtype.is_complex:
        return torch.get_default_dtype()
    return dtype


def broadcast_shape(tensors: Sequence[Tensor]) -> tuple[int, ...]:
    """Return the shape to which several tensors are expanded."""
    # torch's own function for this loads the compiler, too.
    return np.broadcast_shapes(*(tuple(each.shape) for each in tensors))


def new(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return a new contiguous tensor."""
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


def like(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a new tensor whose axes lie in memory as those of another do, if it has no gaps."""
    order = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride()[axis])
    strides, step = [0] * tensor.ndim, 1
    for axis in reversed(order):
        strides[axis] = step
        step *= tensor.shape[axis]
    if any(size == 0 for size in tensor.shape) or 0 in tensor.stride():
        return new(tensor.shape, dtype or tensor.dtype)
    return torch.empty_strided(tensor.shape, strides, dtype=dtype or tensor.dtype, device="meta")


def reduced(
    tensor: Tensor,
    dim: Sequence[int] | int | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the result of a sum or another reduction over some axes, all of them by default."""
    named = [dim] if isinstance(dim, int) else list(dim or ())
    axes = {axis % tensor.ndim for axis in named} if named else set(range(tensor.ndim))
    kept = [
        1 if axis in axes else size
        for axis, size in enumerate(tensor.shape)
        if keepdim or axis not in axes
    ]
    is_counted = not tensor.is_floating_point()
    return new(kept, dtype or (torch.int64 if is_counted else tensor.dtype))


def reduced_to_bool(
    tensor: Tensor, dim: Sequence[int] | int | None = None, keepdim: bool = False
) -> Tensor:
    """Return the result of asking whether all or any numbers along some axes are true."""
    return reduced(tensor, dim, keepdim, dtype=torch.bool)


def vector_norm(
    tensor: Tensor,
    order: float = 2,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the lengths of vectors along some axes."""
    del order
    return reduced(tensor, dim, keepdim, dtype=dtype)
