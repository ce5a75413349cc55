"""One layer of the towers, gate and adapter in one go, with its backward written by hand.

`CrossModalGates` followed by `SideAdapters` is the plain form of the same; the
tests hold the two equal to 1e-12. What is gained: autograd would keep, per
layer, the stacked hidden states, the mix, the bottleneck before and after GELU
and the change; here the bottleneck before GELU is kept and nothing else that
was not there before, GELU and mix being cheap to do again. On the CPU the work
goes through in blocks of items, so that all but the matmuls stay in its cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.layers.adapter import SideAdapters
from crossan.train.layers.gate import CrossModalGates

__all__ = ["mix_and_adapt"]

_ITEMS_PER_CPU_BLOCK = 512
"""At the paper's sizes a block's mix is 6 MB."""


def mix_and_adapt(
    previous: Tensor | None,
    hidden: Sequence[Tensor],
    presence: Tensor,
    gates: CrossModalGates,
    adapters: SideAdapters,
    compute_dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the adapters' outputs of one layer, ``(items, modality, dim)``.

    Parameters
    ----------
    previous
        Outputs of the layer below, ``(items, modality, dim)``, finite
        everywhere; None where there is none, which is the same as zeros.
    hidden
        Hidden states of this layer, one ``(items, dim)`` per modality, in any
        float dtype; gradients reach those that ask for one. What lies in an
        absent row is never read.
    presence
        ``(items, modality)`` bool.
    gates, adapters
        The layer's.
    compute_dtype
        What the projections are computed in, backward included; the parameters'
        own dtype where not given. Mix, residual and gradients stay in that.
    """
    weights = gates.weights(presence)
    below = hidden[0].new_empty(0) if previous is None else previous
    own = (adapters.down, adapters.down_bias, adapters.up, adapters.up_bias)
    output: Tensor = _MixAndAdapt.apply(compute_dtype, below, presence, weights, *own, *hidden)  # type: ignore[no-untyped-call]
    return output


class _MixAndAdapt(torch.autograd.Function):
    """The arithmetic of `mix_and_adapt`; ``previous`` without elements stands for none."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        compute_dtype: torch.dtype | None,
        previous: Tensor,
        presence: Tensor,
        *rest: Tensor,
    ) -> Tensor:
        weights, down, down_bias, up, up_bias, *hidden = rest
        # up's bias joins the residual, in full precision
        down, down_bias, up = (own.to(compute_dtype or own.dtype) for own in (down, down_bias, up))
        output = weights.new_empty(len(presence), len(down), down.shape[1])
        kept = []
        for block in _blocks(presence):
            mixed = _mix(
                previous[block], weights[block], _clean(hidden, presence, block, weights.dtype)
            )
            bottleneck = torch.baddbmm(
                down_bias.unsqueeze(1), _by_modality(mixed, down.dtype), down
            )
            torch.add(mixed, up_bias, out=output[block])
            _add_product(output[block].transpose(0, 1), F.gelu(bottleneck), up)
            kept.append(bottleneck)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(previous, presence, weights, down, up, *hidden, *kept)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        previous, presence, weights, down, up, *others = ctx.saved_tensors
        modality_count = presence.shape[1]
        hidden, kept = others[:modality_count], others[modality_count:]
        of_down, of_down_bias, of_up = (
            weights.new_zeros(shape) for shape in (down.shape, down.shape[::2], up.shape)
        )
        of_weights = torch.zeros_like(weights)
        of_previous = torch.empty_like(previous) if ctx.needs_input_grad[1] else None
        wants_hidden = ctx.needs_input_grad[-modality_count:]
        of_hidden = torch.empty_like(grad_output) if any(wants_hidden) else None
        for block, bottleneck in zip(_blocks(presence), kept, strict=True):
            states = _clean(hidden, presence, block, weights.dtype)
            mixed = _by_modality(_mix(previous[block], weights[block], states), down.dtype)
            grad = _by_modality(grad_output[block], up.dtype)
            _add_product(of_up, F.gelu(bottleneck).transpose(1, 2), grad)
            of_bottleneck = torch.ops.aten.gelu_backward(
                torch.bmm(grad, up.transpose(1, 2)), bottleneck
            )
            _add_product(of_down, mixed.transpose(1, 2), of_bottleneck)
            of_down_bias += of_bottleneck.sum(dim=1)
            of_mixed = grad_output[block] + torch.bmm(
                of_bottleneck, down.transpose(1, 2)
            ).transpose(0, 1)
            of_weights[block, :, -1] = torch.linalg.vecdot(of_mixed, states)
            if previous.numel():
                of_weights[block, :, :-1] = torch.bmm(of_mixed, previous[block].transpose(1, 2))
            if of_previous is not None:
                torch.bmm(weights[block, :, :-1].transpose(1, 2), of_mixed, out=of_previous[block])
            if of_hidden is not None:
                torch.mul(of_mixed, weights[block, :, -1:], out=of_hidden[block])
        to_hidden = [
            None if of_hidden is None or not wanted else of_hidden[:, m].to(hidden[m].dtype)
            for m, wanted in enumerate(wants_hidden)
        ]
        of_own = of_down, of_down_bias, of_up, grad_output.sum(dim=0)
        return None, of_previous, None, of_weights, *of_own, *to_hidden


def _add_product(into: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left @ right`` of every modality; where those are narrower, each product is rounded, the sum is not."""
    if into.dtype == left.dtype:
        into.baddbmm_(left, right)
    else:
        into += torch.bmm(left, right)


def _by_modality(states: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``(items, modality, dim)`` as ``(modality, items, dim)``, converted and contiguous in one pass."""
    return states.new_empty(states.transpose(0, 1).shape, dtype=dtype).copy_(states.transpose(0, 1))


def _blocks(presence: Tensor) -> Iterator[slice]:
    """Cut the items evenly so that a block fits a CPU's cache; an accelerator takes them all at once."""
    count = len(presence)
    most = _ITEMS_PER_CPU_BLOCK if presence.device.type == "cpu" else max(count, 1)
    size = math.ceil(
        count / max(math.ceil(count / most), 1)
    )  # 578 items are twice 289, not 512 and a rest too thin
    return (slice(start, min(start + size, count)) for start in range(0, count, max(size, 1)))


def _clean(hidden: Sequence[Tensor], presence: Tensor, block: slice, dtype: torch.dtype) -> Tensor:
    """Return the block's hidden states side by side, zeros where absent, ``(items, modality, dim)``."""
    states = torch.empty(
        len(presence[block]), len(hidden), hidden[0].shape[1], dtype=dtype, device=presence.device
    )
    for m, own in enumerate(hidden):
        states[:, m] = own[block]
    if (
        states.device.type == "cpu" and presence[block].all()
    ):  # elsewhere the answer would have to be waited for
        return states
    return states.masked_fill_(~presence[block].unsqueeze(-1), 0.0)


def _mix(previous: Tensor, weights: Tensor, states: Tensor) -> Tensor:
    """Return Eq. 5's weighted sums, ``(items, modality, dim)``."""
    mixed = weights[..., -1:] * states
    return mixed.baddbmm_(weights[..., :-1], previous) if previous.numel() else mixed
