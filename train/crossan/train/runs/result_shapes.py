"""Shapes of what operators return, worked out without torch's own functions for it.

Those of the meta device are right for every operator. Many of them are written in Python and load
torch's compiler when they are first called: two seconds of CPU time and 80 MiB. So the operators of
a usual step have rules here, which the tests hold against the operators themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from crossan.train.runs.elementwise_shapes import (
    broadcast_shape,
    common_dtype,
    like,
    new,
    pointwise,
    reduced,
    reduced_to_bool,
    vector_norm,
)

__all__ = ["result_on_meta"]

Rule = Callable[..., Any]
"""From an operator's arguments, on the meta device, to its result there."""


def result_on_meta(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever the operator gives
    """Return what an operator returns for arguments on the meta device, which is there as well."""
    rule = _RULES.get(func)
    if rule is not None:
        return rule(*args, **kwargs)
    if torch.Tag.pointwise in func.tags and len(func._schema.returns) == 1:
        return pointwise(func, [*args, *kwargs.values()])
    return func(*args, **kwargs)


def _made_alike(
    tensor: Tensor,
    *value: object,
    dtype: torch.dtype | None = None,
    memory_format: torch.memory_format | None = None,
    **others: object,
) -> Tensor:
    del value, others
    if memory_format in {None, torch.preserve_format}:
        return like(tensor, dtype)
    return new(tensor.shape, dtype or tensor.dtype)


def _mm(left: Tensor, right: Tensor) -> Tensor:
    return new((*left.shape[:-1], right.shape[-1]), left.dtype)


def _add_mm(total: Tensor, left: Tensor, right: Tensor, **scales: object) -> Tensor:
    del total, scales
    return _mm(left, right)


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    # An empty vector may stand beside tensors of any rank.
    parts = [each for each in tensors if each.shape != (0,)] or list(tensors)
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return new(shape, common_dtype(tensors))


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(tensors[0].shape)
    shape.insert(dim % (len(shape) + 1), len(tensors))
    return new(shape, common_dtype(tensors))


def _embedding(weight: Tensor, indices: Tensor, *others: object) -> Tensor:
    del others
    return new((*indices.shape, weight.shape[1]), weight.dtype)


def _softmax(scores: Tensor, dim: int, is_widened: bool = False) -> Tensor:
    del dim
    return like(scores, torch.float32 if is_widened else None)


def _safe_softmax(scores: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    del dim
    return like(scores, dtype)


def _softmax_backward(
    gradient: Tensor, output: Tensor, dim: int, input_dtype: torch.dtype
) -> Tensor:
    del output, dim
    return like(gradient, input_dtype)


def _layer_norm(
    states: Tensor, shape: Sequence[int], weight: object, bias: object, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    del weight, bias, epsilon
    ones = [1] * len(shape)
    moments = (*states.shape[: states.ndim - len(shape)], *ones)
    return (
        new(states.shape, states.dtype),
        new(moments, states.dtype),
        new(moments, states.dtype),
    )


def _layer_norm_backward(
    gradient: Tensor,
    states: Tensor,
    shape: Sequence[int],
    mean: Tensor,
    deviation: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    is_needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    del gradient, shape, mean, deviation
    pairs = zip((states, weight, bias), is_needed, strict=True)
    return tuple(like(each) if needed and each is not None else None for each, needed in pairs)


def _gather(table: Tensor, dim: int, index: Tensor, **others: object) -> Tensor:
    del dim, others
    return new(index.shape, table.dtype)


def _index(table: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    given = [index for index in indices if index is not None]
    is_side_by_side = axes[-1] - axes[0] == len(axes) - 1
    if not is_side_by_side or any(index.dtype == torch.bool for index in given):
        return torch.ops.aten.index.Tensor(table, indices)  # type: ignore[no-any-return]
    chosen = broadcast_shape(given)
    return new((*table.shape[: axes[0]], *chosen, *table.shape[axes[-1] + 1 :]), table.dtype)


def _sort(
    tensor: Tensor, *others: object, stable: bool | None = None, **more: object
) -> tuple[Tensor, Tensor]:
    del others, stable, more
    return like(tensor), like(tensor, torch.int64)


def _diag_embed(tensor: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    if offset or (dim1, dim2) != (-2, -1):
        return torch.ops.aten.diag_embed.default(tensor, offset, dim1, dim2)  # type: ignore[no-any-return]
    return new((*tensor.shape, tensor.shape[-1]), tensor.dtype)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    del right
    return new((), left.dtype)


def _embedding_bag(
    weight: Tensor, indices: Tensor, offsets: Tensor, *others: object, **more: object
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # The last of the arguments may say that offsets have the end of the last bag, too.
    has_end = bool(more.get("include_last_offset", len(others) > 4 and others[4]))
    bags = len(offsets) - has_end
    sizes = new((bags,), offsets.dtype)
    return new((bags, weight.shape[1]), weight.dtype), like(indices), sizes, like(sizes)


def _padded(tensor: Tensor, pads: Sequence[int], value: float = 0) -> Tensor:
    del value
    shape = list(tensor.shape)
    for number in range(len(pads) // 2):
        # Of the last axis first.
        shape[-1 - number] += pads[2 * number] + pads[2 * number + 1]
    return new(shape, tensor.dtype)


def _attention_on_cpu(
    query: Tensor, key: Tensor, value: Tensor, *others: object, **more: object
) -> tuple[Tensor, Tensor]:
    del key, others, more
    users, heads, length, _ = query.shape
    sums = new((users, length, heads), torch.float32).transpose(1, 2)
    return new((users, heads, length, value.shape[3]), query.dtype), sums


def _attention_on_cuda(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    is_trained: bool,
    *others: object,
    **more: object,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del key, bias, others, more
    users, heads, length, _ = query.shape
    attended = new((users, length, heads, value.shape[3]), query.dtype).transpose(1, 2)
    # Its kernel works on 32 rows at a time.
    rows = -(-length // 32) * 32 if is_trained else 0
    sums = new((users, heads, rows), torch.float32)
    return attended, sums, new((), torch.int64), new((), torch.int64)


def _of_sizes(gradient: Tensor, sizes: Sequence[int], *others: object) -> Tensor:
    del others
    return new(sizes, gradient.dtype)


def _sparse(
    sparse_dim: int,
    dense_dim: int,
    size: Sequence[int],
    indices: Tensor,
    values: Tensor,
    **more: object,
) -> Tensor:
    """Return a dense tensor: AdamW makes one of a sparse gradient in any case."""
    del sparse_dim, dense_dim, indices, more
    return new(size, values.dtype)


def _first(tensor: Tensor, *others: object, **more: object) -> Tensor:
    del others, more
    return like(tensor)


def _dropout(tensor: Tensor, rate: float, is_training: bool | None) -> tuple[Tensor, Tensor]:
    del rate, is_training
    return like(tensor), like(tensor, torch.bool)


_aten = torch.ops.aten
_RULES: dict[OpOverload, Rule] = {
    _aten.mm.default: _mm,
    _aten.bmm.default: _mm,
    _aten.addmm.default: _add_mm,
    _aten.baddbmm.default: _add_mm,
    _aten.cat.default: _cat,
    _aten.stack.default: _stack,
    _aten.embedding.default: _embedding,
    _aten._softmax.default: _softmax,
    _aten._log_softmax.default: _softmax,
    _aten._safe_softmax.default: _safe_softmax,
    _aten._softmax_backward_data.default: _softmax_backward,
    _aten._log_softmax_backward_data.default: _softmax_backward,
    _aten.native_layer_norm.default: _layer_norm,
    _aten.native_layer_norm_backward.default: _layer_norm_backward,
    _aten.native_dropout.default: _dropout,
    _aten.gather.default: _gather,
    _aten.index.Tensor: _index,
    _aten.sum.dim_IntList: reduced,
    _aten.logsumexp.default: reduced,
    _aten.amax.default: reduced,
    _aten.all.dim: reduced_to_bool,
    _aten.any.dim: reduced_to_bool,
    _aten.dot.default: _dot,
    _aten._sparse_coo_tensor_with_dims_and_tensors.default: _sparse,
    _aten._scaled_dot_product_flash_attention_for_cpu.default: _attention_on_cpu,
    _aten._scaled_dot_product_efficient_attention.default: _attention_on_cuda,
    _aten.sort.stable: _sort,
    _aten.sort.default: _sort,
    _aten.diag_embed.default: _diag_embed,
    _aten.constant_pad_nd.default: _padded,
    _aten._embedding_bag_forward_only.default: _embedding_bag,
    _aten._embedding_bag.default: _embedding_bag,
    _aten.mean.default: reduced,
    _aten.mean.dim: reduced,
    _aten.linalg_vector_norm.default: vector_norm,
    _aten.slice_backward.default: _of_sizes,
    _aten.select_backward.default: _of_sizes,
    **dict.fromkeys(
        (
            *(_aten.zeros_like.default, _aten.ones_like.default, _aten.empty_like.default),
            *(_aten.full_like.default, _aten.rand_like.default, _aten.randn_like.default),
            _aten.clone.default,
        ),
        _made_alike,
    ),
    **dict.fromkeys(
        (
            *(_aten.scatter.src, _aten.scatter.value, _aten.scatter_add.default),
            *(_aten.index_add.default, _aten.index_copy.default, _aten.index_fill.int_Scalar),
            _aten.index_put.default,
            *(_aten.leaky_relu_backward.default, _aten.softplus_backward.default),
        ),
        _first,
    ),
}
