r"""A convolution of MMGCN over a graph of users and items, with its backward by hand.

With :math:`\bar{A}` the mean over neighbours, x the vectors of nodes and e those of their ids,

.. math:: h = \mathrm{leaky}(\bar{A} x W), \quad y = \mathrm{leaky}(L x + b) + e, \quad
   x' = \mathrm{leaky}(G [h, y] + c),

or :math:`x' = \mathrm{leaky}(G h + y + c)` where G has columns for h alone. What is done here for
speed is exact:

- A mean and a product may be taken in either order. Before the first layer, whose vectors are wide,
  :math:`\bar{A}` and W come to :math:`\bar{A}(x_{items} W)` for users and
  :math:`(\bar{A} x_{users}) W` for items: W multiplies two rows for each item and none for a user,
  of whom there are more. Where users' vectors are constant, so are the means over them.
- Wide messages are computed by blocks of columns, which keeps the table that the edges look rows up
  in within a processor's cache.
- All that joins them is done by blocks of rows that stay in the cache until they are done with, and
  backwards messages are overwritten by their own gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.layers.sparse_matrix import SparseMatrix

__all__ = ["SLOPE", "Weights", "convolution", "convolution_at", "wide_convolution"]

SLOPE = 0.01
"""Of leaky ReLUs below zero."""

_COLUMNS_PER_BLOCK = 128
_ROWS_PER_BLOCK = 2048


@dataclass(frozen=True, slots=True)
class Weights:
    """What a layer learns."""

    messages: Tensor
    """W, ``(wide, wide)``."""
    own: Tensor
    """L, ``(width, wide)``."""
    own_bias: Tensor
    """b, ``(width,)``."""
    joining: Tensor
    """G, ``(width, wide + width)``, or ``(width, wide)`` for a sum."""
    bias: Tensor
    """c, ``(width,)``."""

    def all(self) -> tuple[Tensor, ...]:
        """Return them as autograd's functions take them."""
        return self.messages, self.own, self.own_bias, self.joining, self.bias


def wide_convolution(
    users: Tensor,
    items: Tensor,
    means: Tensor,
    ids: Tensor,
    weights: Weights,
    mean_of_users: SparseMatrix,
) -> Tensor:
    """Return the first layer of all nodes, users first, ``(users + items, width)``.

    Parameters
    ----------
    users, items
        Their vectors, ``(users, wide)`` and ``(items, wide)``.
    means
        Of each item the mean of its users' vectors, ``(items, wide)``.
    ids
        Vectors of ids, users first, ``(users + items, width)``.
    weights
        Of the layer.
    mean_of_users
        The mean over each user's items, ``(users, items)``.
    """
    given = (users, items, means, ids, *weights.all())
    vectors: Tensor = _WideConvolution.apply(mean_of_users, *given)  # type: ignore[no-untyped-call]
    return vectors


def convolution(vectors: Tensor, ids: Tensor, weights: Weights, mean: SparseMatrix) -> Tensor:
    """Return a layer of all nodes, ``(nodes, width)``.

    Parameters
    ----------
    vectors, ids
        Vectors of nodes and of their ids, ``(nodes, width)`` each.
    weights
        Of the layer.
    mean
        The mean over each node's neighbours, ``(nodes, nodes)``.
    """
    convolved: Tensor = _Convolution.apply(mean, vectors, ids, *weights.all())  # type: ignore[no-untyped-call]
    return convolved


def convolution_at(
    rows: Tensor, vectors: Tensor, ids: Tensor, weights: Weights, mean: SparseMatrix
) -> Tensor:
    """Return a layer of some nodes, ``(rows, width)``; all else as in `convolution`."""
    messages = F.leaky_relu(mean.rows_of(rows, vectors) @ weights.messages, SLOPE)
    linear = F.linear(F.embedding(rows, vectors), weights.own, weights.own_bias)
    itself = F.leaky_relu(linear, SLOPE) + F.embedding(rows, ids)
    if weights.joining.shape[1] == messages.shape[1]:
        joined = F.linear(messages, weights.joining, weights.bias) + itself
    else:
        joined = F.linear(torch.cat([messages, itself], dim=1), weights.joining, weights.bias)
    return F.leaky_relu(joined, SLOPE)


class _Joining:
    """The part of a layer that comes after its messages, for some of the nodes.

    Parameters
    ----------
    pieces
        Messages before their activation by blocks of columns, ``(nodes, columns)`` each. They become
        the messages, and backwards the gradients of what they were.
    vectors, ids
        Of the nodes.
    weights
        Of the layer.
    joined
        Where the result goes, ``(nodes, width)``.
    """

    def __init__(
        self,
        pieces: Sequence[Tensor],
        vectors: Tensor,
        ids: Tensor,
        weights: Weights,
        joined: Tensor,
    ) -> None:
        self.pieces, self._vectors, self._ids, self._joined = pieces, vectors, ids, joined
        self._linear = torch.empty_like(joined)
        widths = [piece.shape[1] for piece in pieces]
        self._widths = [*widths, weights.joining.shape[1] - sum(widths)]
        *parts, own_part = weights.joining.split(self._widths, dim=1)
        for rows in _row_blocks(len(vectors)):
            linear, total = self._linear[rows], joined[rows]
            torch.addmm(weights.own_bias, vectors[rows], weights.own.T, out=linear)
            itself = F.leaky_relu_(linear, SLOPE) + ids[rows]
            if own_part.shape[1]:
                torch.addmm(weights.bias, itself, own_part.T, out=total)
            else:
                torch.add(itself, weights.bias, out=total)
            for piece, part in zip(pieces, parts, strict=True):
                total.addmm_(F.leaky_relu_(piece[rows], SLOPE), part.T)
            F.leaky_relu_(total, SLOPE)

    def backward(
        self, gradient: Tensor, weights: Weights, sums: Weights, to: tuple[Tensor | None, ...]
    ) -> None:
        """Add the gradients of weights to `sums`, and write those of vectors and ids.

        Parameters
        ----------
        gradient
            Of the result, ``(nodes, width)``.
        weights, sums
            Of the layer, and what their gradients are added to.
        to
            Where the gradients of vectors and of ids go, None where nobody asks for them.
        """
        *parts, own_part = weights.joining.split(self._widths, dim=1)
        *sums_of_parts, sum_of_own_part = sums.joining.split(self._widths, dim=1)
        to_vectors, to_ids = to
        for rows in _row_blocks(len(gradient)):
            linear, vectors = self._linear[rows], self._vectors[rows]
            to_joined = _before_leaky(gradient[rows], self._joined[rows])
            sums.bias.add_(to_joined.sum(dim=0))
            to_itself = to_joined
            if own_part.shape[1]:
                sum_of_own_part.addmm_(to_joined.T, linear + self._ids[rows])
                to_itself = to_joined @ own_part
            for piece, part, of_part in zip(self.pieces, parts, sums_of_parts, strict=True):
                messages = piece[rows]
                of_part.addmm_(to_joined.T, messages)
                _before_leaky(to_joined @ part, messages, out=messages)
            if to_ids is not None:
                to_ids[rows] = to_itself
            to_linear = _before_leaky(to_itself, linear)
            sums.own_bias.add_(to_linear.sum(dim=0))
            sums.own.addmm_(to_linear.T, vectors)
            if to_vectors is not None:
                torch.mm(to_linear, weights.own, out=to_vectors[rows])


class _WideConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean_of_users: SparseMatrix, *given: Tensor) -> Tensor:  # noqa: ANN401 - torch gives it no type
        users, items, means, ids, *rest = given
        weights = Weights(*rest)
        counts = [len(users), len(items)]
        joined = items.new_empty(sum(counts), len(weights.joining))
        columns = weights.messages.split(_COLUMNS_PER_BLOCK, dim=1)
        from_items = [mean_of_users.multiply(items @ block) for block in columns]
        from_users = [means @ block for block in columns]
        of_users, of_items = zip(ids.split(counts), joined.split(counts), strict=True)
        ctx.joinings = (
            _Joining(from_items, users, of_users[0], weights, of_users[1]),
            _Joining(from_users, items, of_items[0], weights, of_items[1]),
        )
        ctx.mean_of_users = mean_of_users
        ctx.save_for_backward(*given)
        return joined

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        users, items, means, ids, *rest = ctx.saved_tensors
        weights = Weights(*rest)
        # They are overwritten: a second pass must not find them.
        (joining_users, joining_items), ctx.joinings = ctx.joinings, None
        sums = Weights(*(torch.zeros_like(one) for one in rest))
        to_users, to_items, to_means, to_ids = (
            torch.empty_like(one) if is_needed else None
            for one, is_needed in zip(
                (users, items, means, ids), ctx.needs_input_grad[1:5], strict=True
            )
        )
        counts = [len(users), len(items)]
        ids_parts = (None, None) if to_ids is None else to_ids.split(counts)
        to_user_rows, to_item_rows = gradient.split(counts)
        joining_users.backward(to_user_rows, weights, sums, (to_users, ids_parts[0]))
        joining_items.backward(to_item_rows, weights, sums, (to_items, ids_parts[1]))
        columns, sums_of_columns = (
            one.split(_COLUMNS_PER_BLOCK, dim=1) for one in (weights.messages, sums.messages)
        )
        if to_means is not None:
            to_means.zero_()
        pieces = zip(joining_users.pieces, joining_items.pieces, strict=True)
        for number, (from_items, from_users) in enumerate(pieces):
            # What comes to a user is a mean of products: its gradient goes back to each item first.
            to_products = ctx.mean_of_users.multiply_transposed(from_items)
            sums_of_columns[number].addmm_(items.T, to_products).addmm_(means.T, from_users)
            if to_items is not None:
                to_items.addmm_(to_products, columns[number].T)
            if to_means is not None:
                to_means.addmm_(from_users, columns[number].T)
        return None, to_users, to_items, to_means, to_ids, *sums.all()


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: SparseMatrix, *given: Tensor) -> Tensor:  # noqa: ANN401
        vectors, ids, *rest = given
        weights = Weights(*rest)
        messages = mean.multiply(vectors @ weights.messages)
        joined = vectors.new_empty(len(vectors), len(weights.joining))
        ctx.joining, ctx.mean = _Joining([messages], vectors, ids, weights, joined), mean
        ctx.save_for_backward(*given)
        return joined

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        vectors, ids, *rest = ctx.saved_tensors
        weights = Weights(*rest)
        joining, ctx.joining = ctx.joining, None
        sums = Weights(*(torch.zeros_like(one) for one in rest))
        to_vectors = torch.empty_like(vectors)
        to_ids = torch.empty_like(ids) if ctx.needs_input_grad[2] else None
        joining.backward(gradient, weights, sums, (to_vectors, to_ids))
        to_products = ctx.mean.multiply_transposed(joining.pieces[0])
        sums.messages.addmm_(vectors.T, to_products)
        to_vectors.addmm_(to_products, weights.messages.T)
        return None, to_vectors, to_ids, *sums.all()


def _row_blocks(row_count: int) -> Iterator[slice]:
    """Return blocks of rows, in order."""
    for begin in range(0, row_count, _ROWS_PER_BLOCK):
        yield slice(begin, begin + _ROWS_PER_BLOCK)


def _before_leaky(gradient: Tensor, result: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the gradient before a leaky ReLU, whose result has the sign of what went in."""
    if out is None:
        through: Tensor = torch.ops.aten.leaky_relu_backward(gradient, result, SLOPE, True)
        return through
    torch.ops.aten.leaky_relu_backward.grad_input(gradient, result, SLOPE, True, grad_input=out)
    return out
