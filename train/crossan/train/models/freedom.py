r"""FREEDOM, freezing and denoising graphs (Zhou and Shen, 2023), as MMRec's code runs it.

With users' and items' vectors X, and Z the mean of hops of X over the graph of users and items
(`crossan.train.layers.graph`), the vector of a user is :math:`Z_u`, and that of an item

.. math:: Z_i + S^n x_i,

S being the mean over the nearest items of each, by the cosine of their features, the item itself
among them, and :math:`x_i` the vectors in X. The loss is

.. math:: bpr(u, p, n) + \lambda \sum_m bpr(u, t^m_p, t^m_n), \qquad t^m = W_m f^m + b_m,

where :math:`f^m` are features that begin as the store's and are learned. Before each epoch a graph
is drawn for its steps: a share of the pairs, without replacement, with probabilities by
:math:`1 / \sqrt{d_u d_i}`, normalised by the degrees that are left. Evaluation takes all pairs.

The parameters are :math:`(U + I) d + \sum_m (I f_m + f_m d + d)` numbers.

Where the code and the paper differ, ``model.variant`` chooses. The code takes the mean over the k
nearest, and learns the features. ``as-written`` is the paper's symmetric normalisation, by the
degrees of the graph in which two items are neighbours when one is among the other's nearest, and
leaves the features frozen, so that their numbers are no parameters.

Ours to decide, with any set of modalities:

- S is the mean of the modalities' matrices by convex weights, ``model.image_weight`` for the image
  and the rest shared alike. An item that lacks a modality shares its weight among the others.
- A triple counts in a modality's term where both items have it.
- Pairs are drawn by keys :math:`\ln U / w` of which the largest stay (Efraimidis and Spirakis,
  2006): the same distribution as torch's multinomial, of any number of pairs.
- :math:`b_m` has no gradient: it cancels in the difference of two items of a triple.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from scipy import sparse
from torch import Tensor, nn

from crossan.cache_schema.modality import Modality
from crossan.train.features.whole import last_states
from crossan.train.layers.contrast import bayesian_ranking
from crossan.train.layers.graph import mean_of_hops, mean_of_hops_at
from crossan.train.layers.item_graph import mean_of_neighbours, nearest_items
from crossan.train.layers.node_table import NodeTable
from crossan.train.layers.sparse_matrix import SparseMatrix
from crossan.train.layers.trainable_features import TrainableFeatures
from crossan.train.layers.training_pairs import TrainingPairs
from crossan.train.models.graph_parts import features_by_modality, features_in, training_pairs
from crossan.train.models.recommender import ModelContext, ParameterGroups
from crossan.train.settings import FreedomSettings
from crossan.train.settings.tower import Tower

__all__ = ["Freedom", "build", "item_matrix"]

_DRAW = 1
"""Third number of the seed of an epoch's pairs, which keeps it apart from that of its batches."""


def item_matrix(
    states: list[Tensor], presence: Tensor, shares: list[float], k: int, *, is_symmetric: bool
) -> sparse.csr_array:
    """Return the frozen graph of items, the mean of the modalities' by convex weights.

    Parameters
    ----------
    states
        Hidden states of each modality, ``(items, dim)``.
    presence
        ``(items, modalities)`` bool.
    shares
        Weight of each modality.
    k
        Neighbours of an item, itself among them.
    is_symmetric
        Whether items are neighbours both ways, normalised by the degrees of both; else the row of
        an item is the mean over its k nearest.
    """
    # An item's weights are those of the modalities that it has.
    weights = presence.numpy(force=True) * np.array(shares)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    total = sparse.csr_array((len(presence), len(presence)))
    for number, hidden in enumerate(states):
        mean = mean_of_neighbours(nearest_items(hidden, presence[:, number], k)[0])
        matrix = _normalised_both_ways(mean) if is_symmetric else mean
        total = total + sparse.diags_array(weights[:, number]) @ matrix
    return sparse.csr_array(total)


def _normalised_both_ways(neighbours: sparse.csr_array) -> sparse.csr_array:
    """Return the symmetric graph of all pairs in either direction, by the degrees of both."""
    edges = sparse.csr_array((neighbours + neighbours.T) > 0, dtype=np.float64)
    roots = np.sqrt(np.maximum(edges.sum(axis=1), 1.0))
    return sparse.csr_array(sparse.diags_array(1 / roots) @ edges @ sparse.diags_array(1 / roots))


class Freedom(nn.Module):
    """Vectors over a graph of users and items that is drawn anew, and a frozen graph of items.

    Parameters
    ----------
    pairs
        The training pairs.
    nodes
        The vectors of users and items.
    content
        The features of each modality.
    item_graph
        The frozen graph, ``(items, items)``.
    settings
        Hops, shares and weights.
    seed
        Seed of the pairs that are drawn.
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        nodes: NodeTable,
        content: nn.ModuleDict,
        item_graph: SparseMatrix,
        settings: FreedomSettings,
        seed: int,
    ) -> None:
        super().__init__()
        self.nodes, self.content = nodes, content
        self._pairs, self._item_graph = pairs, item_graph
        self._settings, self._seed = settings, seed
        self._whole = pairs.graph(slice(None), item_graph.device)
        self._drawn = self._whole

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items over the graph of all pairs."""
        return self._vectors_over(self._whole)

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the loss of triples over the graph of the epoch, each ``(triples,)`` rows."""
        both = torch.cat([items, others])
        rows = torch.cat([users, both + len(self.nodes.users)])
        hops = mean_of_hops_at(self._drawn, self.nodes(), self._settings.hops, rows)
        neighbours = self._item_graph.rows_of(both, self._before_last_item_hop())
        user_vectors, *item_vectors = hops.split(len(users))
        positive, negative = (
            vectors + of_neighbours
            for vectors, of_neighbours in zip(
                item_vectors, neighbours.split(len(users)), strict=True
            )
        )
        loss = bayesian_ranking(user_vectors, positive, negative)
        if self._settings.content_weight:
            for features in features_in(self.content):
                content_loss = self._content_loss(features, user_vectors, items, others)
                loss = loss + self._settings.content_weight * content_loss
        return loss

    def begin_epoch(self, epoch: int) -> None:
        """Draw the pairs whose graph the steps of an epoch propagate over."""
        if self._settings.pruned_share:
            # In float64 and cut down, as the code does it.
            kept_count = int(self._pairs.count * (1.0 - self._settings.pruned_share))
            random = np.random.default_rng([self._seed, epoch, _DRAW])
            self.keep_pairs(self._pairs.draw(kept_count, random))

    def keep_pairs(self, kept: np.ndarray) -> None:
        """Propagate over the graph of some training pairs in the steps to come."""
        self._drawn = self._pairs.graph(kept, self._item_graph.device)

    def parameter_groups(self) -> ParameterGroups:
        """Return all parameters, which take one rate as in the published code."""
        return ParameterGroups(list(self.parameters()))

    def item_rows(self) -> tuple[str, ...]:
        """Return the names of the items' vectors and of their learned features."""
        tables = (f"content.{name}.table" for name in self.content)
        learned = dict(self.named_parameters())
        return ("nodes.items", *(name for name in tables if name in learned))

    def _vectors_over(self, graph: SparseMatrix) -> tuple[Tensor, Tensor]:
        """Return the vectors of all users and items."""
        hops = mean_of_hops(graph, self.nodes(), self._settings.hops)
        users, items = hops.split([len(self.nodes.users), len(self.nodes.items)])
        return users, items + self._item_graph @ self._before_last_item_hop()

    def _before_last_item_hop(self) -> Tensor:
        """Return what the last hop over the graph of items is a product with, ``(items, width)``."""
        table: Tensor = self.nodes.items
        for _ in range(self._settings.item_hops - 1):
            table = self._item_graph @ table
        return table

    def _content_loss(
        self, features: TrainableFeatures, user_vectors: Tensor, items: Tensor, others: Tensor
    ) -> Tensor:
        """Return the ranking loss of projected features, over the triples that have them."""
        positive, negative = features.rows(torch.cat([items, others])).chunk(2)
        # One projection instead of two: that of the difference, from which the bias is gone.
        projected = F.linear(positive - negative, features.projection.weight)
        losses = F.softplus(-torch.linalg.vecdot(user_vectors, projected))
        return features.mean(losses, items, others)


def build(settings: FreedomSettings, context: ModelContext) -> Freedom:
    """Build the model with random weights for the users, items and stores of a run."""
    features, states = context.features, last_states(context.features)
    is_published = settings.variant == "as-published"
    matrix = item_matrix(
        states,
        features.presence,
        _shares(features.modalities, settings.image_weight),
        settings.neighbours,
        is_symmetric=not is_published,
    )
    pairs = training_pairs(context)
    nodes = NodeTable(pairs.user_count, pairs.item_count, settings.width)
    content = features_by_modality(context, states, settings.width, are_trained=is_published)
    item_graph = SparseMatrix(matrix, features.presence.device, is_symmetric=False)
    return Freedom(pairs, nodes, content, item_graph, settings, context.seed)


def _shares(modalities: Sequence[Tower], image_weight: float) -> list[float]:
    """Return the convex weight of each modality in the graph of items."""
    others = len(modalities) - 1
    if Modality.IMAGE not in modalities or not others:
        return [1 / len(modalities)] * len(modalities)
    rest = (1 - image_weight) / others
    return [image_weight if modality is Modality.IMAGE else rest for modality in modalities]
