r"""MGCN, multi-view graph convolution (Yu et al., 2023), as MMRec runs its authors' code.

With :math:`\hat A` the normalised graph of users and items, :math:`\hat R` its rows of users and
columns of items, and :math:`S_m` the graph of items that are alike in modality m,

.. math::

   C = \mathrm{mean}(X, \hat A X, \hat A^2 X), \quad
   x_m = S_m (X_I \odot \sigma(G_m (W_m f_m))), \quad V_m = [\hat R x_m; x_m],

.. math::

   V = \sum_m \mathrm{softmax}_m(q^T \tanh(Q V_m)) V_m, \quad
   S = \frac{1}{M + 1} (V + \sum_m \sigma(P_m C) \odot (V_m - V)),

and the vector of a node is C + S, with X the free vectors of users and items and :math:`f_m` a
trained copy of the features. The loss is Bayesian personalised ranking, the squared length of the
batch's vectors, and two contrastive terms between S and C, of its users and of its items.

The model has :math:`(U + I) d + \sum_m (I f_m + f_m d + d + 2 (d^2 + d)) + d^2 + 2 d` weights.

What differs from the publication: ``as-published`` compares each vector of the contrastive terms
with those of the batch, as the code does, and ``as-written`` with those of all users, or all items.
The temperature is the 0.2 of the code in both.

What differs from the code: any number of modalities. The 3 of the code, by which it divides, is
M + 1. An item without a modality has a view of zeros there and is in nobody's neighbourhood. A
negative sum of similarities, NaN there, is refused. Every sum is the same; users are computed for
the batch alone, and a node that a batch has twice is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.train.features.by_modality import modality_features
from crossan.train.layers.contrast import bayesian_ranking
from crossan.train.layers.distinct import DistinctRows, contrast
from crossan.train.layers.graph import mean_of_hops, mean_of_hops_at
from crossan.train.layers.node_table import NodeTable
from crossan.train.layers.view_fusion import fused_view
from crossan.train.layers.view_graphs import ModalityFeatures, ViewGraphs, view_graphs
from crossan.train.models.graph_parts import training_pairs
from crossan.train.models.recommender import ModelContext, ParameterGroups
from crossan.train.settings import MgcnSettings

__all__ = ["Mgcn", "build"]

_TEMPERATURE = 0.2


class _View(nn.Module):
    """What a modality has for itself."""

    def __init__(self, features: Tensor, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(features.clone())
        self.project = nn.Linear(features.shape[1], width)
        self.gate = nn.Linear(width, width)
        self.prefer = nn.Linear(width, width)

    def gates(self) -> Tensor:
        """Return how much of each item's vector this modality lets through, ``(items, width)``."""
        # Both layers are linear, so their product is one: the catalogue is multiplied once.
        weight = self.gate.weight @ self.project.weight
        bias = F.linear(self.project.bias, self.gate.weight, self.gate.bias)
        return F.linear(self.table, weight, bias).sigmoid()


class Mgcn(nn.Module):
    """Vectors of users and items from their graph and from a view of every modality.

    Parameters
    ----------
    features
        Those of every modality.
    graphs
        What vectors propagate over.
    settings
        Width, hops and weights of the loss.
    batch_size
        Triples of a whole batch. The last one of an epoch is divided by it too.
    """

    def __init__(
        self,
        features: Sequence[ModalityFeatures],
        graphs: ViewGraphs,
        settings: MgcnSettings,
        batch_size: int,
    ) -> None:
        super().__init__()
        self._graphs, self._settings, self._batch_size = graphs, settings, batch_size
        width, (node_count, item_count) = settings.width, graphs.from_items.shape
        self._user_count = node_count - item_count
        self.nodes = NodeTable(self._user_count, item_count, width)
        self.views = nn.ModuleDict(
            {one.modality.value: _View(one.table, width) for one in features}
        )
        self.query = nn.Linear(width, width)
        self.attend = nn.Linear(width, 1, bias=False)

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items, ``(rows, width)`` each."""
        content = mean_of_hops(self._graphs.nodes, self.nodes(), self._settings.hops)
        views = [self._graphs.from_items @ items for items in self._item_views()]
        return self._split(content + self._fused(views, content))

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the loss of triples, each ``(triples,)`` rows."""
        return torch.stack(list(self.loss_terms(users, items, others).values())).sum()

    def loss_terms(self, users: Tensor, items: Tensor, others: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss of triples, with their weights, by name."""
        rows = DistinctRows.of(users, items, others)
        nodes, settings = rows.nodes(self._user_count), self._settings
        if settings.variant == "as-written":
            everyone = mean_of_hops(self._graphs.nodes, self.nodes(), self._settings.hops)
            content = F.embedding(nodes, everyone)
            candidates: Sequence[Tensor | None] = self._split(everyone)
        else:
            content = mean_of_hops_at(self._graphs.nodes, self.nodes(), self._settings.hops, nodes)
            candidates = (None, None)
        views = [self._graphs.from_items.rows_of(nodes, items) for items in self._item_views()]
        side = self._fused(views, content)
        vectors = content + side
        triples = rows.of_triples(vectors)
        squares = torch.stack([part.square().sum() for part in triples]).sum()
        of_users, of_items = (
            contrast(side[at], content[at], counts, _TEMPERATURE, against)
            for (at, counts), against in zip(
                (rows.user_counts(), rows.positive_counts()), candidates, strict=True
            )
        )
        return {
            "ranking": bayesian_ranking(*triples),
            "norm": settings.norm_weight / (2 * self._batch_size) * squares,
            "contrast of users": settings.contrast_weight * of_users,
            "contrast of items": settings.contrast_weight * of_items,
        }

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing, as no epoch differs from another."""

    def parameter_groups(self) -> ParameterGroups:
        """Return all parameters, which take one rate as in the published code."""
        return ParameterGroups(list(self.parameters()))

    def item_rows(self) -> tuple[str, ...]:
        """Return the names of the free vectors of items and of their trained features."""
        return ("nodes.items", *(f"views.{name}.table" for name in self.views))

    def _modalities(self) -> list[_View]:
        return [one for one in self.views.values() if isinstance(one, _View)]

    def _split(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        return nodes[: self._user_count], nodes[self._user_count :]

    def _item_views(self) -> list[Tensor]:
        """Return the vectors of all items in each modality, ``(items, width)`` each."""
        return [
            self._graphs.propagated(
                number, self.nodes.items * view.gates(), self._settings.item_hops
            )
            for number, view in enumerate(self._modalities())
        ]

    def _fused(self, views: Sequence[Tensor], content: Tensor) -> Tensor:
        """Return the view of some nodes over all modalities, from ``(nodes, width)`` of each."""
        attention = [self.attend(self.query(view).tanh()) for view in views]
        preferences = [modality.prefer(content).sigmoid() for modality in self._modalities()]
        return fused_view(views, attention, preferences)


def build(settings: MgcnSettings, context: ModelContext) -> Mgcn:
    """Build the model with random weights for the users, items and stores of a run."""
    features, pairs = modality_features(context.features), training_pairs(context)
    graphs = view_graphs(pairs, features, settings.neighbours)
    return Mgcn(features, graphs, settings, context.batch_size)
