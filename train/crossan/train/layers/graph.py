r"""The graph of users and items, and vectors that are averaged over it.

With R the binary matrix of users by items, :math:`A = [[0, R], [R^T, 0]]` has a row for every user
and then one for every item, and D its row sums. LightGCN (He et al., 2020) propagates by
:math:`\hat{A} = D^{-1/2} A D^{-1/2}` and takes the mean of all hops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from scipy import sparse
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.layers.sparse_matrix import MatrixRows, SparseMatrix

__all__ = [
    "add_at",
    "adjacency",
    "mean_of_hops",
    "mean_of_hops_at",
    "normalised_bipartite",
    "propagate_mean",
    "propagate_mean_back",
]


def adjacency(
    users: np.ndarray, items: np.ndarray, user_count: int, item_count: int
) -> sparse.csr_array:
    """Return which user has which item, ``(users, items)`` float32 with ones.

    Parameters
    ----------
    users, items
        The pairs, ``(pairs,)`` each; a pair that is there several times counts once.
    user_count, item_count
        Users and items in all, with those in no pair.
    """
    pairs = np.unique(users.astype(np.int64) * item_count + items)
    places = (pairs // item_count, pairs % item_count)
    ones = np.ones(len(pairs), dtype=np.float32)
    return sparse.csr_array((ones, places), shape=(user_count, item_count))


def normalised_bipartite(
    users: np.ndarray,
    items: np.ndarray,
    user_count: int,
    item_count: int,
    *,
    epsilon: float = 0.0,
) -> sparse.csr_array:
    r"""Return :math:`D^{-1/2} A D^{-1/2}`, ``(users + items, users + items)`` float32.

    Parameters
    ----------
    users, items
        The pairs, ``(pairs,)`` each; a pair that is there several times counts once.
    user_count, item_count
        Users and items in all. The row of one in no pair is empty.
    epsilon
        What is added to every degree before it is inverted.
    """
    pairs = adjacency(users, items, user_count, item_count)
    by_user, by_item = (
        _inverse_root(np.asarray(pairs.sum(axis=axis), dtype=np.float64), epsilon)
        for axis in (1, 0)
    )
    rows = np.repeat(np.arange(user_count), np.diff(pairs.indptr))
    pairs.data = (by_user[rows] * by_item[pairs.indices]).astype(np.float32)
    return sparse.csr_array(sparse.block_array([[None, pairs], [pairs.T, None]], format="csr"))


def _inverse_root(degrees: np.ndarray, epsilon: float) -> np.ndarray:
    """Return the inverse of the root of each degree, zero of none."""
    roots = np.sqrt(degrees + epsilon)
    return np.divide(1.0, roots, out=np.zeros_like(roots), where=degrees > 0)


def mean_of_hops(matrix: SparseMatrix, table: Tensor, hops: int) -> Tensor:
    r"""Return the mean of :math:`X, M X, \dots, M^L X`, ``(nodes, width)``.

    Parameters
    ----------
    matrix
        M, ``(nodes, nodes)``.
    table
        X, ``(nodes, width)``.
    hops
        L.
    """
    mean: Tensor = _MeanOfHops.apply(table, matrix, hops)  # type: ignore[no-untyped-call]
    return mean


def mean_of_hops_at(matrix: SparseMatrix, table: Tensor, hops: int, rows: Tensor) -> Tensor:
    """Return some rows of `mean_of_hops`, the last hop computed for them alone.

    Parameters
    ----------
    matrix, table, hops
        As there.
    rows
        Nodes, ``(any,)``; one may stand there several times.

    Returns
    -------
    Tensor
        ``(any, width)``.
    """
    if not hops:
        return F.embedding(rows, table)
    mean: Tensor = _MeanOfHopsAt.apply(table, matrix, hops, rows)  # type: ignore[no-untyped-call]
    return mean


def propagate_mean(matrix: SparseMatrix, table: Tensor, hops: int) -> Tensor:
    """Return what `mean_of_hops` does, without a gradient, in memory of its own."""
    return _horner(matrix.multiply, table, hops)


def propagate_mean_back(matrix: SparseMatrix, gradient: Tensor, hops: int) -> Tensor:
    """Return the gradient of X by that of the mean, in memory of its own."""
    return _horner(matrix.multiply_transposed, gradient, hops)


def _horner(multiply: Callable[[Tensor, float], Tensor], table: Tensor, hops: int) -> Tensor:
    """Return the mean of hops as X + M (X + M (X + ...)), which keeps one table beside X."""
    if not hops:
        return table.clone()
    share, total = 1 / (hops + 1), table
    for _ in range(hops - 1):
        total = multiply(total, 1.0).add_(table)
    return multiply(total, share).add_(table, alpha=share)


class _MeanOfHops(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, matrix: SparseMatrix, hops: int) -> Tensor:  # noqa: ANN401 - torch gives it no type
        ctx.matrix, ctx.hops = matrix, hops
        return propagate_mean(matrix, table, hops)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return propagate_mean_back(ctx.matrix, gradient, ctx.hops), None, None


class _MeanOfHopsAt(torch.autograd.Function):
    """The same at some rows."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        table: Tensor,
        matrix: SparseMatrix,
        hops: int,
        rows: Tensor,
    ) -> Tensor:
        total = table
        for _ in range(hops - 1):
            total = matrix.multiply(total).add_(table)
        ctx.matrix, ctx.hops, ctx.part = matrix, hops, matrix.chosen(rows)
        ctx.save_for_backward(rows)
        last: Tensor = ctx.part.times(total)
        return last.add_(table.index_select(0, rows)).div_(hops + 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        (rows,) = ctx.saved_tensors
        part: MatrixRows = ctx.part
        gradient = gradient / (ctx.hops + 1)
        # The gradient of the rows is never a whole table of mostly zeros: the first product takes
        # the rows alone, and what reaches X directly is added to them alone.
        total = add_at(part.transposed().times(gradient), rows, gradient)
        for _ in range(ctx.hops - 1):
            total = add_at(ctx.matrix.multiply_transposed(total), rows, gradient)
        return total, None, None, None


def add_at(total: Tensor, rows: Tensor, addends: Tensor) -> Tensor:
    """Add to some rows in place, in the same order each time where a row is there twice."""
    if total.device.type == "cpu":
        return total.index_add_(0, rows, addends)
    # On an accelerator that would add in the order in which threads come.
    whole: Tensor = torch.ops.aten.embedding_dense_backward(addends, rows, len(total), -1, False)
    return total.add_(whole)
