r"""BM3, two views of each vector in place of negatives (Zhou et al., 2023), as MMRec's code runs it.

With users' and items' vectors X, and Z the mean of hops of X over the graph of users and items
(`crossan.train.layers.graph`), the vectors are :math:`h_u = Z_u` and :math:`h_i = Z_i + x_i`, the
item's row of X once more. Features :math:`f^m`, which begin as the store's and are learned, are
projected to :math:`x^m = W_m f^m + b_m`. A predictor q, one affine map for all of them, makes the
first view, and dropout without a gradient the second. With c(a, b) = 1 - mean cos(a, b) over the
pairs of a batch, I items and norms of Frobenius of the vectors of all users and items,

.. math:: L = c(q h_u, \bar h_i) + c(q h_i, \bar h_u)
   + \frac{\lambda}{I} (\lVert h_u \rVert + \lVert h_i \rVert)
   + \beta \sum_m [c(q x^m, \bar h_i) + c(q x^m, \bar x^m)],

a bar being dropout. No negative is read. The score is :math:`q(h_u) \cdot q(h_i)`.

The parameters are :math:`(U + I) d + \sum_m (I f_m + f_m d + d) + d^2 + d` numbers.

Where the code and the paper differ, ``model.variant`` chooses: ``as-written`` has the mean over the
batch of :math:`\lVert h_u \rVert^2 + \lVert h_i \rVert^2` in place of the norms over I.

Ours to decide: any set of modalities, or none at all; a pair counts in a modality's terms where its
item has it. Dropout is drawn for the rows of a batch alone, the same for a row that is there twice,
which is the distribution of the code's whole tables.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from crossan.train.features.whole import last_states
from crossan.train.layers.graph import (
    add_at,
    mean_of_hops,
    mean_of_hops_at,
    propagate_mean,
    propagate_mean_back,
)
from crossan.train.layers.node_table import NodeTable
from crossan.train.layers.sparse_matrix import SparseMatrix
from crossan.train.models.graph_parts import features_by_modality, features_in, training_pairs
from crossan.train.models.recommender import ModelContext, ParameterGroups
from crossan.train.settings import Bm3Settings

__all__ = ["Bm3", "build"]


class Bm3(nn.Module):
    """Vectors over a graph of users and items, learned from pairs alone.

    Parameters
    ----------
    graph
        The normalised graph, ``(users + items, users + items)``.
    nodes
        The vectors of users and items.
    content
        The features of each modality.
    settings
        Hops, dropout and weights.
    """

    def __init__(
        self, graph: SparseMatrix, nodes: NodeTable, content: nn.ModuleDict, settings: Bm3Settings
    ) -> None:
        super().__init__()
        self.nodes, self.content = nodes, content
        width = nodes.users.shape[1]
        self.predictor = nn.Linear(width, width)
        projections = [features.projection for features in features_in(content)]
        for linear in (self.predictor, *projections):
            nn.init.xavier_normal_(linear.weight)
        self._graph, self._settings = graph, settings

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Return what the predictor makes of the vectors of users and items."""
        users, items = self.vectors()
        return self.predictor(users), self.predictor(items)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items that the predictor is given."""
        hops = mean_of_hops(self._graph, self.nodes(), self._settings.hops)
        users, items = hops.split([len(self.nodes.users), len(self.nodes.items)])
        return users, items + self.nodes.items

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the loss of pairs, ``(pairs,)`` rows each; the other items are not read."""
        del others
        of_user, of_item = (rows.unique(return_inverse=True)[1] for rows in (users, items))
        # In the order in which the code draws them.
        masks = [self._mask(rows) for rows in (of_user, of_item, *(of_item for _ in self.content))]
        return self.loss_under(users, items, masks)

    def loss_under(self, users: Tensor, items: Tensor, masks: list[Tensor]) -> Tensor:
        """Return the loss of pairs with dropout that is given.

        Parameters
        ----------
        users, items
            ``(pairs,)`` rows each.
        masks
            What the second views of users, of items and of each modality are multiplied by,
            ``(pairs, width)`` each.
        """
        user_vectors, item_vectors, norms = self._vectors_of(users, items)
        user_target, item_target = (
            vectors.detach() * mask
            for vectors, mask in zip((user_vectors, item_vectors), masks, strict=False)
        )
        loss = (
            _apart(self.predictor(user_vectors), item_target).mean()
            + _apart(self.predictor(item_vectors), user_target).mean()
            + self._settings.norm_weight * norms
        )
        for features, mask in zip(features_in(self.content), masks[2:], strict=True):
            projected = features.projection(features.rows(items))
            predicted = self.predictor(projected)
            apart = _apart(predicted, item_target) + _apart(predicted, projected.detach() * mask)
            loss = loss + self._settings.content_weight * features.mean(apart, items)
        return loss

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing, as no epoch differs from another."""

    def parameter_groups(self) -> ParameterGroups:
        """Return all parameters, which take one rate as in the published code."""
        return ParameterGroups(list(self.parameters()))

    def item_rows(self) -> tuple[str, ...]:
        """Return the names of the items' vectors and of their learned features."""
        return ("nodes.items", *(f"content.{name}.table" for name in self.content))

    def _vectors_of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the vectors of some users and items, and the norm that the loss has of them."""
        user_count, item_count = len(self.nodes.users), len(self.nodes.items)
        rows = torch.cat([users, items + user_count])
        whole = self.nodes()
        if self._settings.variant == "as-published" and self._settings.norm_weight:
            vectors, user_norm, item_norm = _RowsAndNorms.apply(  # type: ignore[no-untyped-call]
                whole, self._graph, self._settings.hops, user_count, rows
            )
            return *vectors.split(len(users)), (user_norm + item_norm) / item_count
        hops = mean_of_hops_at(self._graph, whole, self._settings.hops, rows)
        user_vectors, item_hops = hops.split(len(users))
        item_vectors = item_hops + F.embedding(items, self.nodes.items)
        squares = sum(vectors.square().sum(dim=1) for vectors in (user_vectors, item_vectors))
        return user_vectors, item_vectors, squares.mean()

    def _mask(self, rows: Tensor) -> Tensor:
        """Draw what a second view is multiplied by, the same where a number is there twice."""
        kept = 1 - self._settings.dropout
        drawn = torch.rand(len(rows), self.nodes.users.shape[1], device=rows.device)
        return (drawn < kept).index_select(0, rows) * (1 / kept)


class _RowsAndNorms(torch.autograd.Function):
    """The vectors of some nodes and the norms of all, in one table without any copy of it."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        table: Tensor,
        graph: SparseMatrix,
        hops: int,
        user_count: int,
        rows: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        vectors = propagate_mean(graph, table, hops)
        vectors[user_count:] += table[user_count:]
        norms = [
            torch.linalg.vector_norm(part) for part in (vectors[:user_count], vectors[user_count:])
        ]
        ctx.graph, ctx.hops, ctx.user_count, ctx.vectors = graph, hops, user_count, vectors
        ctx.save_for_backward(rows, *norms)
        return vectors.index_select(0, rows), norms[0], norms[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_rows: Tensor, *of_norms: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        rows, *norms = ctx.saved_tensors
        # The gradient of a norm is the table over it: the table is not needed any more and becomes
        # that in its own memory.
        gradient, ctx.vectors = ctx.vectors, None
        for part, norm, of_norm in zip(
            (gradient[: ctx.user_count], gradient[ctx.user_count :]), norms, of_norms, strict=True
        ):
            part.mul_(torch.where(norm > 0, of_norm / norm, 0.0))
        add_at(gradient, rows, of_rows)
        total = propagate_mean_back(ctx.graph, gradient, ctx.hops)
        total[ctx.user_count :] += gradient[ctx.user_count :]
        return total, None, None, None, None


def _apart(predicted: Tensor, target: Tensor) -> Tensor:
    """Return 1 minus the cosine of each row, ``(rows,)``."""
    return 1 - F.cosine_similarity(predicted, target)


def build(settings: Bm3Settings, context: ModelContext) -> Bm3:
    """Build the model with random weights for the users, items and stores of a run."""
    pairs = training_pairs(context)
    nodes = NodeTable(pairs.user_count, pairs.item_count, settings.width)
    content = features_by_modality(context, last_states(context.features), settings.width)
    graph = pairs.graph(slice(None), context.features.presence.device)
    return Bm3(graph, nodes, content, settings)
