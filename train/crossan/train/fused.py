"""One layer of the towers, gate and adapter in one go, with its backward written by hand.

`CrossModalGates` followed by `SideAdapters` is the plain form of the same; the
tests hold the two equal to 1e-12. What is gained: autograd would keep, per
layer, the stacked hidden states, the mix, the bottleneck before and after GELU
and the change; here the bottleneck before GELU is kept and nothing else that
was not there before, GELU and mix being cheap to do again. On the CPU the work
goes through in blocks of items, so that all but the matmuls stay in its cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.adapter import SideAdapters
from crossan.train.gate import CrossModalGates

__all__ = ["mix_and_adapt"]

_ITEMS_PER_CPU_BLOCK = 512
"""At the paper's sizes a block's mix is 6 MB."""


def mix_and_adapt(
    previous: Tensor | None,
    hidden: Sequence[Tensor],
    presence: Tensor,
    gates: CrossModalGates,
    adapters: SideAdapters,
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
    """
    weights = gates.weights(presence)
    below = hidden[0].new_empty(0) if previous is None else previous
    own = (adapters.down, adapters.down_bias, adapters.up, adapters.up_bias)
    output: Tensor = _MixAndAdapt.apply(below, presence, weights, *own, *hidden)  # type: ignore[no-untyped-call]
    return output


class _MixAndAdapt(torch.autograd.Function):
    """The arithmetic of `mix_and_adapt`; ``previous`` without elements stands for none."""

    @staticmethod
    def forward(ctx: Any, previous: Tensor, presence: Tensor, *rest: Tensor) -> Tensor:  # noqa: ANN401 - torch gives it no type
        weights, down, down_bias, up, up_bias, *hidden = rest
        output = weights.new_empty(len(presence), len(down), down.shape[1])
        kept = []
        for block in _blocks(presence):
            mixed = _mix(previous[block], weights[block], _clean(hidden, presence, block, weights.dtype))
            bottleneck = torch.baddbmm(down_bias.unsqueeze(1), mixed.transpose(0, 1), down)
            torch.add(mixed, up_bias, out=output[block])
            output[block].transpose(0, 1).baddbmm_(F.gelu(bottleneck), up)
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
        grad_down, grad_down_bias = torch.zeros_like(down), down.new_zeros(modality_count, down.shape[2])
        grad_up, grad_up_bias = torch.zeros_like(up), up.new_zeros(modality_count, up.shape[2])
        grad_weights = torch.zeros_like(weights)
        grad_previous = torch.empty_like(previous) if ctx.needs_input_grad[0] else None
        wants_hidden = ctx.needs_input_grad[-modality_count:]
        grad_hidden = torch.empty_like(grad_output) if any(wants_hidden) else None
        for block, bottleneck in zip(_blocks(presence), kept, strict=True):
            states = _clean(hidden, presence, block, weights.dtype)
            mixed = _mix(previous[block], weights[block], states)
            grad = grad_output[block]
            grad_up.baddbmm_(F.gelu(bottleneck).transpose(1, 2), grad.transpose(0, 1))
            grad_up_bias += grad.sum(dim=0)
            activated = torch.bmm(grad.transpose(0, 1), up.transpose(1, 2))
            grad_bottleneck = torch.ops.aten.gelu_backward(activated, bottleneck)
            grad_down.baddbmm_(mixed.permute(1, 2, 0), grad_bottleneck)
            grad_down_bias += grad_bottleneck.sum(dim=1)
            grad_mixed = grad.clone(memory_format=torch.contiguous_format)
            grad_mixed.transpose(0, 1).baddbmm_(grad_bottleneck, down.transpose(1, 2))
            grad_weights[block, :, -1] = torch.linalg.vecdot(grad_mixed, states)
            if previous.numel():
                grad_weights[block, :, :-1] = torch.bmm(grad_mixed, previous[block].transpose(1, 2))
            if grad_previous is not None:
                torch.bmm(weights[block, :, :-1].transpose(1, 2), grad_mixed, out=grad_previous[block])
            if grad_hidden is not None:
                torch.mul(grad_mixed, weights[block, :, -1:], out=grad_hidden[block])
        to_hidden = [
            None if grad_hidden is None or not wanted else grad_hidden[:, m].to(hidden[m].dtype)
            for m, wanted in enumerate(wants_hidden)
        ]
        return grad_previous, None, grad_weights, grad_down, grad_down_bias, grad_up, grad_up_bias, *to_hidden


def _blocks(presence: Tensor) -> Iterator[slice]:
    """Cut the items so that a block fits a CPU's cache; an accelerator takes them all at once."""
    count = len(presence)
    size = _ITEMS_PER_CPU_BLOCK if presence.device.type == "cpu" else max(count, 1)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _clean(hidden: Sequence[Tensor], presence: Tensor, block: slice, dtype: torch.dtype) -> Tensor:
    """Return the block's hidden states side by side, zeros where absent, ``(items, modality, dim)``."""
    states = torch.stack([own[block].to(dtype) for own in hidden], dim=1)
    return states.masked_fill_(~presence[block].unsqueeze(-1), 0.0)


def _mix(previous: Tensor, weights: Tensor, states: Tensor) -> Tensor:
    """Return Eq. 5's weighted sums, ``(items, modality, dim)``."""
    mixed = weights[..., -1:] * states
    return mixed.baddbmm_(weights[..., :-1], previous) if previous.numel() else mixed
