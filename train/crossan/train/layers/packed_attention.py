"""Causal attention of packed positions.

Rows are put at their places for the attention alone, and taken from there again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.layers.byte_dropout import HIGHEST_BYTE_RATE, draw_kept, drop
from crossan.train.layers.packing import Packing, positions_read

__all__ = ["PackedAttention", "attend_by_torch", "attention_mask", "attention_over"]

PackedAttention = Callable[[Tensor, float], Tensor]
"""From the projections of packed rows and a dropout rate to what the rows attend to.

The projections are ``(real, 3 * width)``: queries, keys and values, head after head; the result is
``(real, width)``."""


def attention_mask(is_read: Tensor, bias: Tensor) -> Tensor:
    """Return what is added to scores, -inf where a position is not read.

    Parameters
    ----------
    is_read
        ``(users, 1, any, position)`` bool.
    bias
        ``(heads, any, position)``.

    Returns
    -------
    Tensor
        ``(users, heads, any, position)``.
    """
    return bias.unsqueeze(0).masked_fill(~is_read, float("-inf"))


def attention_over(
    packing: Packing, head_count: int, dtype: torch.dtype, bias: Tensor | None = None
) -> PackedAttention:
    """Return the attention within the users of a packing, which every block can use.

    On the CPU it drops out by random bytes and has its backward by hand. On an
    accelerator it is `attend_by_torch`, whose kernels are fused. So it is for a packing that was
    filled up: by hand, each of several rows at one place would get the gradient of all.

    Parameters
    ----------
    packing
        Where rows stand.
    head_count, dtype
        Heads, and the type of what is projected.
    bias
        What is added to the scores of all users, ``(heads, position, position)``.
    """
    if packing.is_real.device.type != "cpu" or packing.is_filled:
        return lambda projected, rate: attend_by_torch(projected, packing, head_count, rate, bias)
    places = _HeadPlaces.of(packing, head_count, dtype)

    def attend(projected: Tensor, rate: float) -> Tensor:
        if rate > HIGHEST_BYTE_RATE:
            return attend_by_torch(projected, packing, head_count, rate, bias)
        result: Tensor = _Attention.apply(projected, places, rate, bias)  # type: ignore[no-untyped-call]
        return result

    return attend


def attend_by_torch(
    projected: Tensor,
    packing: Packing,
    head_count: int,
    rate: float,
    bias: Tensor | None = None,
) -> Tensor:
    """Return what packed rows attend to, by torch's attention, ``(real, width)``.

    Parameters are as for `PackedAttention` and `attention_over`.
    """
    (users, length), width = packing.is_real.shape, projected.shape[1] // 3
    heads = packing.padded(projected).view(users, length, 3, head_count, width // head_count)
    query, key, value = heads.permute(2, 0, 3, 1, 4)  # (users, head, position, head width) each
    mask = positions_read(packing.is_real).unsqueeze(1)
    if bias is not None:
        mask = attention_mask(mask, bias)
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
    # A lookup and not an index, whose gradient threads would add up in any order.
    return F.embedding(packing.places, attended.transpose(1, 2).reshape(users * length, width))


@dataclass(frozen=True, slots=True)
class _HeadPlaces:
    """Indices by which heads go to their places and back, each one lookup of contiguous memory.

    At its places everything is ``(head * users, position, head width)``, thrice that for queries,
    keys and values.
    """

    head_count: int
    bias: Tensor
    """What is added to a score, 0 where a position is read and else -inf,
    ``(head * users, position, position)``."""
    projected_rows: Tensor
    """Where each place finds its projection, ``(3 * head * users * position,)``."""
    projected_places: Tensor
    """Where each projection finds its place, ``(real * 3 * head,)``."""
    attended_rows: Tensor
    """The first for what was attended to, ``(head * users * position,)``."""
    attended_places: Tensor
    """The second for what was attended to, ``(real * head,)``."""

    @classmethod
    def of(cls, packing: Packing, head_count: int, dtype: torch.dtype) -> _HeadPlaces:
        is_read = positions_read(packing.is_real)
        bias = torch.zeros(is_read.shape, dtype=dtype).masked_fill_(~is_read, float("-inf"))
        parts = torch.arange(3 * head_count)
        heads, place_count = parts[:head_count], len(packing.rows)
        rows, places = packing.rows, packing.places.unsqueeze(1)
        return cls(
            head_count,
            torch.cat([bias] * head_count),
            (rows * len(parts) + parts.unsqueeze(1)).flatten(),
            (places + parts * place_count).flatten(),
            (rows * head_count + heads.unsqueeze(1)).flatten(),
            (places + heads * place_count).flatten(),
        )


class _Attention(torch.autograd.Function):
    r"""Attention of packed rows, with :math:`D` the mask of dropout, :math:`r` its rate and B a bias.

    .. math:: S = Q K^T / \sqrt{d} + B, \quad P = softmax(S), \quad A = (P \odot D / (1 - r)) V

    Lookups put any row at padding. Forward that is harmless, because no real
    position reads padding. Backward it is, too: a padding position reads only
    itself, so whatever gradient comes to it, that of its score is zero, and that of
    its value goes to padding.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        projected: Tensor,
        places: _HeadPlaces,
        rate: float,
        bias: Tensor | None,
    ) -> Tensor:
        width = projected.shape[1] // (3 * places.head_count)  # of a head
        query, key, value = _look_up(projected, places.projected_rows, width).view(
            3, *places.bias.shape[:2], width
        )
        scores = torch.baddbmm(places.bias, query, key.mT, alpha=1.0 / math.sqrt(width))
        if bias is not None:
            scores.view(places.head_count, -1, *bias.shape[1:]).add_(bias.unsqueeze(1))
        shares = scores.softmax(dim=-1)
        kept = draw_kept(shares.shape, rate) if rate else None
        dropped = shares if kept is None else drop(shares, kept, rate)
        ctx.places, ctx.rate = places, rate
        ctx.save_for_backward(query, key, value, shares, kept, dropped)
        attended = torch.bmm(dropped, value)
        return _look_up(attended, places.attended_places, width).view(
            len(projected), places.head_count * width
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, Tensor | None]:  # noqa: ANN401
        query, key, value, shares, kept, dropped = ctx.saved_tensors
        places, width = ctx.places, query.shape[-1]
        grad_attended = _look_up(grad, places.attended_rows, width).view_as(query)
        grads = query.new_empty(3, *query.shape)
        torch.bmm(dropped.mT, grad_attended, out=grads[2])
        grad_shares = torch.bmm(grad_attended, value.mT)
        if kept is not None:
            grad_shares = drop(grad_shares, kept, ctx.rate)
        # That of softmax: P (dP - sum(P dP)).
        grad_shares.sub_((grad_shares * shares).sum(dim=-1, keepdim=True)).mul_(shares)
        grad_bias = None
        if ctx.needs_input_grad[3]:
            grad_bias = grad_shares.view(places.head_count, -1, *grad_shares.shape[1:]).sum(dim=1)
        grad_scores = grad_shares.mul_(1.0 / math.sqrt(width))
        torch.bmm(grad_scores, key, out=grads[0])
        torch.bmm(grad_scores.mT, query, out=grads[1])
        grad_projected = _look_up(grads, places.projected_places, width)
        return grad_projected.view(len(grad), 3 * grad.shape[1]), None, None, grad_bias


def _look_up(values: Tensor, rows: Tensor, width: int) -> Tensor:
    """Return some rows of ``width`` numbers, zeros where there is none to look up."""
    cut = values.reshape(-1, width)
    return cut.index_select(0, rows) if len(cut) else cut.new_zeros(len(rows), width)
