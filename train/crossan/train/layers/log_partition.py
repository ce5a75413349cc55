r"""Sums of exponentials of all products of two tables, by blocks.

A contrastive loss has :math:`\ln \sum_c e^{a_r \cdot c}` of every anchor r over many candidates c.
Plain autograd keeps several tables of rows by candidates, here gigabytes, and passes over each of
them several times. Of one block at a time the exponentials are taken, summed, and multiplied into
both gradients, before the next block takes their place. What the sum is multiplied by later is one
number, so the gradients can be known that early.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["log_partition"]

_BLOCK_NUMBERS = 2**23
"""Exponentials of a block, 32 MB, which are kept until their sum is known."""
_TILE_NUMBERS = 2**17
"""Exponentials of one product, 512 KB, which stay in the cache of a core."""


def log_partition(
    anchors: Tensor, candidates: Tensor, anchor_weights: Tensor, candidate_counts: Tensor
) -> Tensor:
    r"""Return :math:`\sum_r w_r \ln \sum_g \sum_c n_c e^{a_{gr} \cdot c}`.

    Products must stay well below 80, where exponentials of float32 end. Those of vectors of
    length 1 by a temperature do.

    Parameters
    ----------
    anchors
        a, ``(groups, rows, width)``; the groups of a row share its sum.
    candidates
        c, ``(candidates, width)``.
    anchor_weights
        w, ``(rows,)``, without a gradient.
    candidate_counts
        n, how often each candidate counts, ``(candidates,)``, without a gradient.

    Returns
    -------
    Tensor
        One number.
    """
    total: Tensor = _LogPartition.apply(anchors, candidates, anchor_weights, candidate_counts)  # type: ignore[no-untyped-call]
    return total


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        anchors: Tensor,
        candidates: Tensor,
        weights: Tensor,
        counts: Tensor,
    ) -> Tensor:
        groups, row_count, width = anchors.shape
        counted = candidates * counts.unsqueeze(1)
        # Rows of one block next to each other, whatever their group.
        by_row = anchors.transpose(0, 1).contiguous()
        anchor_gradient = torch.empty_like(by_row)
        candidate_gradient = torch.zeros_like(candidates)
        total = anchors.new_zeros(())
        size = max(1, min(row_count, _BLOCK_NUMBERS // (groups * len(candidates))))
        tile_size = max(1, _TILE_NUMBERS // (groups * size))
        tiles = list(
            zip(
                *(one.split(tile_size) for one in (candidates, counted, counts)),
                candidate_gradient.split(tile_size),
                strict=True,
            )
        )
        kept = [anchors.new_empty(groups * size * len(tile[0])) for tile in tiles]
        for block, weight, gradient in zip(
            by_row.split(size), weights.split(size), anchor_gradient.split(size), strict=True
        ):
            rows = block.view(-1, width)
            sums = rows.new_zeros(len(rows))
            of_rows = gradient.view(-1, width).zero_()
            exponentials = []
            for (candidate, times, count, _), room in zip(tiles, kept, strict=True):
                powers = room[: len(rows) * len(candidate)].view(len(rows), len(candidate))
                torch.mm(rows, candidate.T, out=powers).exp_()
                sums.addmv_(powers, count)
                of_rows.addmm_(powers, times)
                exponentials.append(powers)
            partition = sums.view(-1, groups).sum(dim=1)
            total += weight @ partition.log()
            share = (weight / partition).repeat_interleave(groups).unsqueeze(1)
            of_rows.mul_(share)
            shared = rows * share
            for (*_, tile_gradient), powers in zip(tiles, exponentials, strict=True):
                tile_gradient.addmm_(powers.T, shared)
        candidate_gradient.mul_(counts.unsqueeze(1))
        ctx.save_for_backward(anchor_gradient.transpose(0, 1), candidate_gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401
        of_anchors, of_candidates = ctx.saved_tensors
        return of_anchors * gradient, of_candidates * gradient, None, None
