r"""Attention along the edges of a graph of users and items.

An edge leads from a source s into a target t, and its weight among the edges into t is

.. math:: a_{ts} = \frac{\exp(q_t^T k_s)}{\sum_{s'} \exp(q_t^T k_{s'})}.

Neither the vectors at the ends of all edges nor their messages are ever put side by side, which
would be tables ``(edges, width)`` of hundreds of megabytes: a product of two vectors is taken at the
place of each edge by `torch.sparse.sampled_addmm`, and weighted sums are
`torch.nn.functional.embedding_bag`, forwards along the edges as they are and backwards along the
same edges grouped by their sources.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.layers.edges import Edges

__all__ = [
    "attention",
    "mutual_attention",
    "weighted_sums",
    "with_neighbours",
]


def mutual_attention(vectors: Tensor, edges: Edges) -> Tensor:
    """Return the weight of every edge of a graph in which each edge has one back, ``(edges,)``.

    Parameters
    ----------
    vectors
        Queries and keys in one, ``(rows, width)``, each of length 1 at most: the exponential of
        their products needs no other care.
    edges
        As `Edges.both_ways` makes them. A product serves an edge and the one back.
    """
    weights: Tensor = _MutualAttention.apply(vectors, edges)  # type: ignore[no-untyped-call]
    return weights


def attention(queries: Tensor, keys: Tensor, edges: Edges) -> Tensor:
    """Return the weight of every edge, ``(edges,)``.

    Parameters
    ----------
    queries
        Vectors of targets, ``(targets, width)``, each of length 1 at most.
    keys
        Vectors of sources, ``(sources, width)``, likewise.
    edges
        The edges.
    """
    weights: Tensor = _Attention.apply(queries, keys, edges)  # type: ignore[no-untyped-call]
    return weights


def weighted_sums(weights: Tensor, table: Tensor, edges: Edges) -> Tensor:
    """Return what comes into every target, ``(targets, width)``.

    Parameters
    ----------
    weights
        Of each edge, ``(edges,)``.
    table
        Vectors of sources, ``(sources, width)``.
    edges
        The edges.
    """
    sums: Tensor = _WeightedSums.apply(weights, table, edges, None)  # type: ignore[no-untyped-call]
    return sums


def with_neighbours(weights: Tensor, table: Tensor, edges: Edges, rows: Tensor) -> Tensor:
    """Return vectors of some rows with what comes into them added, ``(rows, width)``.

    Parameters
    ----------
    weights
        Of each edge, ``(edges,)``.
    table
        Vectors, ``(sources, width)``.
    edges
        Those into the rows, as `Edges.into` gives them.
    rows
        Rows of the table, ``(targets,)``, each once.
    """
    sums: Tensor = _WeightedSums.apply(weights, table, edges, rows)  # type: ignore[no-untyped-call]
    return sums


def _products(targets: Tensor, sources: Tensor, pattern: Tensor) -> Tensor:
    """Return the product of the vectors at both ends of every edge, ``(edges,)``."""
    zeros = pattern.to(targets.dtype)
    sampled = torch.sparse.sampled_addmm(zeros, targets, sources.T, beta=0.0)
    products: Tensor = sampled.values()
    return products


def _sums(weights: Tensor, table: Tensor, indices: Tensor, begins: Tensor) -> Tensor:
    """Return a weighted sum of rows of a table for every span of indices."""
    with torch.no_grad():
        return F.embedding_bag(
            indices,
            table.contiguous(),
            begins,
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )


def _into_targets(weights: Tensor, table: Tensor, edges: Edges) -> Tensor:
    return _sums(weights, table, edges.sources, edges.begins)


def _into_sources(weights: Tensor, table: Tensor, edges: Edges) -> Tensor:
    by_source = weights[edges.by_source]
    return _sums(by_source, table, edges.targets_by_source, edges.source_begins)


def _sums_by_target(values: Tensor, edges: Edges) -> Tensor:
    sums: Tensor = torch.segment_reduce(values, "sum", offsets=edges.begins)
    return sums


def _shares(exponentials: Tensor, edges: Edges) -> Tensor:
    """Return the share that each edge has of the sum over those into its target."""
    return exponentials.div_(_sums_by_target(exponentials, edges)[edges.targets])


def _gradient_of_logits(weights: Tensor, gradient: Tensor, edges: Edges) -> Tensor:
    """Return the gradient of the products, of which the weights are softmaxes."""
    weighted = weights * gradient
    return weighted.addcmul_(weights, _sums_by_target(weighted, edges)[edges.targets], value=-1)


class _MutualAttention(torch.autograd.Function):
    """One product of vectors for each pair of edges, and one weighted sum backwards."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, edges: Edges) -> Tensor:  # noqa: ANN401 - torch gives it no type
        # The first half leads into users; the others are the same edges back.
        half = len(edges.sources) // 2
        forth = _products(vectors, vectors, edges.first_half).exp_()
        weights = _shares(torch.cat([forth, forth[edges.by_source[half:]]]), edges)
        ctx.edges = edges
        ctx.save_for_backward(vectors, weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        vectors, weights = ctx.saved_tensors
        of_logits = _gradient_of_logits(weights, gradient, ctx.edges)
        # Both ends of an edge are query of one direction and key of the other.
        of_logits = of_logits + of_logits[ctx.edges.by_source]
        return _into_targets(of_logits, vectors, ctx.edges), None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, edges: Edges) -> Tensor:  # noqa: ANN401
        products = _products(queries, keys, edges.pattern)
        weights = _shares(products.exp_(), edges)
        ctx.edges = edges
        ctx.save_for_backward(queries, keys, weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        queries, keys, weights = ctx.saved_tensors
        of_logits = _gradient_of_logits(weights, gradient, ctx.edges)
        of_queries = _into_targets(of_logits, keys, ctx.edges)
        return of_queries, _into_sources(of_logits, queries, ctx.edges), None


class _WeightedSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        weights: Tensor,
        table: Tensor,
        edges: Edges,
        rows: Tensor | None,
    ) -> Tensor:
        ctx.edges, ctx.rows = edges, rows
        ctx.save_for_backward(weights, table)
        sums = _into_targets(weights, table, edges)
        return sums if rows is None else sums.add_(table[rows])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401
        weights, table = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_weights = _products(gradient, table, ctx.edges.pattern)
        of_table = _into_sources(weights, gradient, ctx.edges)
        if ctx.rows is not None:  # each stands there once, so that nothing is added in any order
            of_table.index_add_(0, ctx.rows, gradient)
        return of_weights, of_table, None, None
