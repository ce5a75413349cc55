"""One layer of the towers, gate and adapter in one go, with its backward written by hand.

`CrossModalGates` followed by `SideAdapters` is the plain form of the same
arithmetic, and the tests hold the two equal to 1e-12. Autograd would keep, for
every layer, the stacked hidden states, the mix, the bottleneck before and after
its activation, and the adapters' change. Here the bottleneck before its
activation is the only new tensor that is kept, because mix and activation are
cheap to compute again. On the CPU the items are processed in blocks, so that
everything but the matmuls works within the processor's cache.
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

_ITEMS_PER_CPU_BLOCK = 512
"""At the paper's sizes the mix of one block is 6 MB."""


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
        What the projections are computed in, backward included; by default the
        dtype of the parameters. Mix, residual and gradients always stay in the
        dtype of the parameters.
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
        # The bias of `up` is not converted: it is added to the residual, in full precision.
        down, down_bias, up = (
            parameter.to(compute_dtype or parameter.dtype) for parameter in (down, down_bias, up)
        )
        output = weights.new_empty(len(presence), len(down), down.shape[1])
        bottlenecks = []
        for block in _blocks(presence):
            states = _clean(hidden, presence, block, weights.dtype)
            mixed = _mix(previous[block], weights[block], states)
            bottleneck = torch.baddbmm(
                down_bias.unsqueeze(1), _by_modality(mixed, down.dtype), down
            )
            # The residual is written straight into the output and the change is added onto it:
            # neither is ever a tensor of its own.
            torch.add(mixed, up_bias, out=output[block])
            _add_product(output[block].transpose(0, 1), activate(bottleneck, activation), up)
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
        grad_down, grad_down_bias, grad_up = (
            weights.new_zeros(shape) for shape in (down.shape, down.shape[::2], up.shape)
        )
        grad_weights = torch.zeros_like(weights)
        # Frozen hidden states need no gradient, nor has the lowest layer one to hand down:
        # these two are the largest tensors here, so they are made only where somebody reads them.
        grad_previous = torch.empty_like(previous) if ctx.needs_input_grad[2] else None
        needs_hidden = ctx.needs_input_grad[-modality_count:]
        grad_hidden = torch.empty_like(grad_output) if any(needs_hidden) else None
        for block, bottleneck in zip(_blocks(presence), bottlenecks, strict=True):
            # Computed a second time instead of kept: see the module's docstring.
            states = _clean(hidden, presence, block, weights.dtype)
            mixed = _by_modality(_mix(previous[block], weights[block], states), down.dtype)
            grad_change = _by_modality(grad_output[block], up.dtype)
            active = activate(bottleneck, ctx.activation)
            _add_product(grad_up, active.transpose(1, 2), grad_change)
            grad_bottleneck = activation_backward(
                torch.bmm(grad_change, up.transpose(1, 2)), bottleneck, ctx.activation
            )
            _add_product(grad_down, mixed.transpose(1, 2), grad_bottleneck)
            grad_down_bias += grad_bottleneck.sum(dim=1)
            # The mix reaches the output twice: as the residual, and through the adapter.
            through_adapter = torch.bmm(grad_bottleneck, down.transpose(1, 2)).transpose(0, 1)
            grad_mixed = grad_output[block] + through_adapter
            # A gate's last weight multiplies the hidden state of its own modality alone; the
            # others multiply the outputs below of every modality, hence a product of matrices.
            grad_weights[block, :, -1] = torch.linalg.vecdot(grad_mixed, states)
            if previous.numel():
                below = previous[block].transpose(1, 2)
                grad_weights[block, :, :-1] = torch.bmm(grad_mixed, below)
            if grad_previous is not None:
                to_below = weights[block, :, :-1].transpose(1, 2)
                torch.bmm(to_below, grad_mixed, out=grad_previous[block])
            if grad_hidden is not None:
                torch.mul(grad_mixed, weights[block, :, -1:], out=grad_hidden[block])
        to_hidden = [
            grad_hidden[:, m].to(hidden[m].dtype)
            if grad_hidden is not None and needs_gradient
            else None
            for m, needs_gradient in enumerate(needs_hidden)
        ]
        of_parameters = grad_down, grad_down_bias, grad_up, grad_output.sum(dim=0)
        return None, None, grad_previous, None, grad_weights, *of_parameters, *to_hidden


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left @ right`` of every modality to ``total`` in place.

    Where the two are narrower than the total, each product is rounded to their
    dtype and the sum is not.
    """
    if total.dtype == left.dtype:
        total.baddbmm_(left, right)
    else:
        total += torch.bmm(left, right)


def _by_modality(states: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn ``(items, modality, dim)`` into a contiguous ``(modality, items, dim)``.

    Copied into a new tensor, so that moving and converting is a single pass.
    """
    states = states.transpose(0, 1)
    return states.new_empty(states.shape, dtype=dtype).copy_(states)


def _blocks(presence: Tensor) -> Iterator[slice]:
    """Cut the items into even blocks that fit the cache of a CPU.

    An accelerator takes all items at once.
    """
    item_count = len(presence)
    most = _ITEMS_PER_CPU_BLOCK if presence.device.type == "cpu" else max(item_count, 1)
    block_count = max(math.ceil(item_count / most), 1)
    # Even blocks: 578 items are twice 289, not 512 and a rest too thin for a quick matmul.
    size = max(math.ceil(item_count / block_count), 1)
    return (slice(start, min(start + size, item_count)) for start in range(0, item_count, size))


def _clean(hidden: Sequence[Tensor], presence: Tensor, block: slice, dtype: torch.dtype) -> Tensor:
    """Stack the hidden states of a block, with zeros where a modality is absent.

    The result is ``(items, modality, dim)``.
    """
    is_present = presence[block]
    states = torch.empty(
        len(is_present), len(hidden), hidden[0].shape[1], dtype=dtype, device=presence.device
    )
    for m, of_modality in enumerate(hidden):
        states[:, m] = of_modality[block]
    # Most blocks have nothing to clear. Only the CPU is asked: on an accelerator the answer would
    # have to be waited for, which costs more than clearing nothing.
    if states.device.type == "cpu" and is_present.all():
        return states
    return states.masked_fill_(~is_present.unsqueeze(-1), 0.0)


def _mix(previous: Tensor, weights: Tensor, states: Tensor) -> Tensor:
    """Return the weighted sums of Eq. 5, ``(items, modality, dim)``."""
    mixed = weights[..., -1:] * states
    return mixed.baddbmm_(weights[..., :-1], previous) if previous.numel() else mixed
