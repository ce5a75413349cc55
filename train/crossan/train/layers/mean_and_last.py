"""The mean of all hops over a graph together with the last one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.layers.sparse_matrix import SparseMatrix

__all__ = ["mean_and_last_hop"]


def mean_and_last_hop(matrix: SparseMatrix, table: Tensor, hops: int) -> tuple[Tensor, Tensor]:
    r"""Return the mean of :math:`X, M X, \dots, M^L X`, and the last of them.

    Parameters
    ----------
    matrix
        M, ``(nodes, nodes)``.
    table
        X, ``(nodes, width)``.
    hops
        L.
    """
    mean, last = _MeanAndLastHop.apply(table, matrix, hops)  # type: ignore[no-untyped-call]
    return mean, last


class _MeanAndLastHop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, matrix: SparseMatrix, hops: int) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - torch gives it no type
        ctx.matrix, ctx.hops = matrix, hops
        total, last = table.clone(), table
        for _ in range(hops):
            last = matrix.multiply(last)
            total.add_(last)
        return total.div_(hops + 1), last.clone() if last is table else last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_mean: Tensor, of_last: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        # By Horner's rule, from the last hop to the first.
        of_each = of_mean / (ctx.hops + 1)
        total = of_each + of_last
        for _ in range(ctx.hops):
            total = ctx.matrix.multiply_transposed(total).add_(of_each)
        return total, None, None
