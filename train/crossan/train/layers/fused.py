"""One layer of the towers, gate and adapter in one go, with its backward written by hand.

`CrossModalGates` followed by `SideAdapters` is the plain form of the same
arithmetic, and the tests hold the two equal to 1e-12. Autograd would keep, for
every layer, the stacked hidden states, the mix, the bottleneck before and after
its activation, and the adapters' change. Here the bottleneck before its
activation is the only new tensor that is kept, because mix and activation are
cheap to compute again.

Where the projections are computed in bfloat16, so are the outputs that layers hand
to each other and the gradients that they hand back: half of the bytes. What is
computed in between depends on the device. A CPU takes the items in blocks that fit
its cache, where a pass over float32 costs little, so there the mix and the residual
are float32 and each output is rounded once. An accelerator takes all items at once
and every pass waits for its memory, so there nothing is wider than the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.layers.activation import Activation, activate, activation_backward
from crossan.train.layers.adapter import SideAdapters
from crossan.train.layers.gate import Gates

__all__ = ["mix_and_adapt"]

_FULL_PRECISION = (torch.float32, torch.float64)

_ITEMS_PER_CPU_BLOCK = 256
"""At the paper's sizes the mix of one block is 3 MB."""


def mix_and_adapt(
    previous: Tensor | None,
    hidden: Sequence[Tensor],
    presence: Tensor,
    gates: Gates,
    adapters: SideAdapters,
    compute_dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the adapters' outputs of one layer, ``(items, modality, dim)``.

    Parameters
    ----------
    previous
        Outputs of the layer below, ``(items, modality, dim)``, finite
        everywhere. None at the lowest layer, which is the same as zeros.
    hidden
        Hidden states of this layer, one ``(items, dim)`` per modality, in any
        float dtype. Those that require a gradient get one. The numbers in an
        absent row are never read.
    presence
        ``(items, modality)`` bool.
    gates, adapters
        The modules of this layer.
    compute_dtype
        Of the projections, the result and its gradient; by default the dtype
        of the parameters, which that of their gradients always is.
    """
    weights = gates.weights(presence)
    # An autograd function takes tensors only, so "no layer below" is a tensor without elements.
    below = hidden[0].new_empty(0) if previous is None else previous
    parameters = (adapters.down, adapters.down_bias, adapters.up, adapters.up_bias)
    output: Tensor = _MixAndAdapt.apply(  # type: ignore[no-untyped-call]
        compute_dtype, adapters.activation, below, presence, weights, *parameters, *hidden
    )
    return output


class _MixAndAdapt(torch.autograd.Function):
    """The arithmetic of `mix_and_adapt`.

    A ``previous`` without elements means that there is no layer below.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        compute_dtype: torch.dtype | None,
        activation: Activation,
        previous: Tensor,
        presence: Tensor,
        *rest: Tensor,
    ) -> Tensor:
        weights, down, down_bias, up, up_bias, *hidden = rest
        # The bias of `up` is not converted: it is added to the residual.
        down, down_bias, up = (
            parameter.to(compute_dtype or parameter.dtype) for parameter in (down, down_bias, up)
        )
        output = weights.new_empty((len(presence), len(down), down.shape[1]), dtype=down.dtype)
        mixing = weights.to(_mix_dtype(weights, output))
        bottlenecks = []
        for block in _blocks(presence):
            mixed = _room_for(output[block], mixing.dtype)
            _fill_clean(mixed, hidden, presence, block)
            _mix_in(mixed, previous[block].to(mixing.dtype), mixing[block])
            bottleneck = torch.baddbmm(
                down_bias.unsqueeze(1), _by_modality(mixed, down.dtype), down
            )
            # The mix is the residual: bias and change are added to it where it is.
            mixed += up_bias
            _add_product(mixed.transpose(0, 1), activate(bottleneck, activation), up)
            _put(output[block], mixed)
            bottlenecks.append(bottleneck)
        ctx.activation = activation
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(previous, presence, weights, down, up, *hidden, *bottlenecks)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        previous, presence, weights, down, up, *others = ctx.saved_tensors
        modality_count = presence.shape[1]
        hidden, bottlenecks = others[:modality_count], others[modality_count:]
        # The parameters' gradients are sums over all blocks, so they are kept in full precision
        # (the dtype of `weights`) even where the products are computed in a narrower one.
        grad_down, grad_down_bias, grad_up, grad_up_bias = (
            weights.new_zeros(shape)
            for shape in (down.shape, down.shape[::2], up.shape, up.shape[::2])
        )
        grad_weights = torch.zeros_like(weights)
        mixing = weights.to(_mix_dtype(weights, grad_output))
        # Frozen hidden states need no gradient, nor has the lowest layer one to hand down:
        # these two are the largest tensors here, so they are made only where somebody reads them.
        grad_previous = torch.empty_like(previous) if ctx.needs_input_grad[2] else None
        grad_hidden = [
            torch.empty_like(states, memory_format=torch.contiguous_format) if is_needed else None
            for states, is_needed in zip(
                hidden, ctx.needs_input_grad[-modality_count:], strict=True
            )
        ]
        for block, bottleneck in zip(_blocks(presence), bottlenecks, strict=True):
            grad_change = _by_modality(grad_output[block], up.dtype)
            _add_product(grad_up, activate(bottleneck, ctx.activation).transpose(1, 2), grad_change)
            grad_up_bias += grad_output[block].sum(dim=0, dtype=weights.dtype)
            grad_bottleneck = activation_backward(
                torch.bmm(grad_change, up.transpose(1, 2)), bottleneck, ctx.activation
            )
            grad_down_bias += grad_bottleneck.sum(dim=1, dtype=weights.dtype)
            # The mix reaches the output twice: as the residual, and through the adapter.
            grad_mixed = grad_output[block].to(mixing.dtype, copy=True)
            _add_product(grad_mixed.transpose(0, 1), grad_bottleneck, down.transpose(1, 2))
            # A gate's last weight multiplies the hidden state of its own modality alone; the
            # others multiply the outputs below of every modality, hence a product of matrices.
            states = torch.empty_like(grad_mixed, memory_format=torch.contiguous_format)
            _fill_clean(states, hidden, presence, block)
            grad_weights[block, :, -1] = torch.linalg.vecdot(grad_mixed, states)
            below = previous[block].to(mixing.dtype)
            if below.numel():
                grad_weights[block, :, :-1] = torch.bmm(grad_mixed, below.transpose(1, 2))
            # The mix a second time, instead of kept: see the module's docstring.
            _mix_in(states, below, mixing[block])
            mixed = _by_modality(states, down.dtype, are_columns=True)
            _add_product(grad_down, mixed.transpose(1, 2), grad_bottleneck)
            if grad_previous is not None:
                to_below = mixing[block, :, :-1].transpose(1, 2)
                grad_below = _room_for(grad_previous[block], mixing.dtype)
                _add_combined(grad_below, to_below, grad_mixed, beta=0)
                _put(grad_previous[block], grad_below)
            for m, grad in enumerate(grad_hidden):
                if grad is not None:
                    grad[block] = grad_mixed[:, m] * mixing[block, m, -1:]
        of_parameters = grad_down, grad_down_bias, grad_up, grad_up_bias
        return None, None, grad_previous, None, grad_weights, *of_parameters, *grad_hidden


def _is_cached(tensor: Tensor) -> bool:
    """Return whether blocks of a tensor stay in a cache, and passes over them are cheap."""
    return tensor.device.type == "cpu"


def _mix_dtype(weights: Tensor, output: Tensor) -> torch.dtype:
    """Return what mix and residual are computed in: see the module's docstring."""
    return weights.dtype if _is_cached(output) else output.dtype


def _room_for(result: Tensor, dtype: torch.dtype) -> Tensor:
    """Return where a result is computed in a dtype: in its place, unless that is narrower."""
    return result if result.dtype == dtype else result.new_empty(result.shape, dtype=dtype)


def _put(result: Tensor, computed: Tensor) -> None:
    """Round what was computed in `_room_for` a result."""
    if computed.dtype != result.dtype:
        result.copy_(computed)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left @ right`` of every modality to ``total`` in place.

    Where the two are narrower than the total, each product is rounded to their
    dtype and the sum is not.
    """
    if total.dtype == left.dtype:
        total.baddbmm_(left, right)
    else:
        total += torch.bmm(left, right)


def _by_modality(states: Tensor, dtype: torch.dtype, *, are_columns: bool = False) -> Tensor:
    """Turn ``(items, modality, dim)`` into ``(modality, items, dim)`` for a matmul.

    A view where the matmul reads that as fast as a copy. It does not on a CPU
    whose matmuls are bfloat16's, as oneDNN first copies what has gaps, nor where
    the product sums over the items (``are_columns``): MKL is then slower. Moving
    and converting is a single pass.
    """
    states = states.transpose(0, 1)
    has_gaps = _is_cached(states) and (are_columns or dtype not in _FULL_PRECISION)
    if states.dtype == dtype and not has_gaps:
        return states
    return states.new_empty(states.shape, dtype=dtype).copy_(states)


def _blocks(presence: Tensor) -> Iterator[slice]:
    """Cut the items into even blocks that fit the cache of a CPU.

    An accelerator takes all items at once.
    """
    item_count = len(presence)
    most = _ITEMS_PER_CPU_BLOCK if _is_cached(presence) else max(item_count, 1)
    block_count = max(math.ceil(item_count / most), 1)
    # Even blocks: 578 items are thrice 193, not twice 256 and a rest too thin for a quick matmul.
    size = max(math.ceil(item_count / block_count), 1)
    return (slice(start, min(start + size, item_count)) for start in range(0, item_count, size))


def _fill_clean(states: Tensor, hidden: Sequence[Tensor], presence: Tensor, block: slice) -> None:
    """Write a block of hidden states to ``(items, modality, dim)``, zeros where one is absent."""
    is_present = presence[block]
    for m, of_modality in enumerate(hidden):
        states[:, m] = of_modality[block]
    # Most blocks have nothing to clear. Only the CPU is asked: on an accelerator the answer would
    # have to be waited for, which costs more than clearing nothing.
    if not (_is_cached(states) and is_present.all()):
        states.masked_fill_(~is_present.unsqueeze(-1), 0.0)


def _mix_in(states: Tensor, below: Tensor, weights: Tensor) -> None:
    """Turn hidden states ``(items, modality, dim)`` into the weighted sums of Eq. 5, in place."""
    states *= weights[..., -1:]
    if below.numel():
        _add_combined(states, weights[..., :-1], below)


def _add_combined(total: Tensor, weights: Tensor, states: Tensor, beta: int = 1) -> None:
    """Add ``weights @ states`` of every item to ``beta * total``, in place.

    ``weights`` is ``(items, to, from)``; the others are ``(items, modality,
    dim)``. On a CPU that is a small product for each item. Products so small fill
    little of a block of an accelerator's threads; there every modality below is
    multiplied and added to all others at once, for all items.
    """
    if _is_cached(total):
        total.baddbmm_(weights, states, beta=beta)
        return
    for m, of_modality in enumerate(states.unbind(dim=1)):
        weight, state = weights[:, :, m, None], of_modality.unsqueeze(1)
        if m == 0 and beta == 0:
            torch.mul(weight, state, out=total)
        else:
            total.addcmul_(weight, state)
