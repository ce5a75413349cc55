r"""MHCR, MGCN's views beside a hypergraph of each modality (Lyu et al., 2025), as its code runs.

With :math:`\hat A`, :math:`\hat R` and :math:`S_m` as in `crossan.train.models.mgcn`, a gate g that
all modalities share, and a hypergraph of each modality (`crossan.train.layers.hypergraph`), whose
rows are :math:`h_m`,

.. math::

   C = \mathrm{mean}(X, \hat A X, \dots, \hat A^L X), \quad
   x_m = S_m (X_I \odot g(W_m f_m)), \quad V_m = [\hat R x_m; x_m],

.. math:: S = \frac{1}{M + 1} (V + \sum_m g(C) \odot (V_m - V)), \quad V = \sum_m a_m V_m,

and the vector of a node is :math:`C + \hat A^L X + \alpha \sum_m h_m / \| \sum_m h_m \|`. The loss is
that of MGCN, the norms of all vectors, a contrastive loss between the hypergraphs of two modalities
(`crossan.train.layers.hyper_contrast`), and how well the sorted coordinates of :math:`h_m` and
:math:`V_m` agree (`crossan.train.layers.rank_agreement`).

The model has :math:`(U + I) d + \sum_m (I f_m + f_m d + d + f_m h) + (2 d^2 + 6 d) + (d^2 + 4 d)`
weights.

What differs from the publication: ``as-published`` the last hop is in the score, and S in none, as
in the code, where the names of both differ by one ending. ``as-written`` S is there instead.

What differs from the code: outside training, ties to hyperedges have no Gumbel noise, unless
``noise_at_evaluation`` asks for it. Any number of modalities, of which three are published. The sum
over pairs of modalities takes those that there are, which of one are none, so that this loss is
zero. Candidates are the rows of text, and where there is no text those of the first modality that
there is of image, video and audio. An item without a modality has a view of zeros there, and is
tied to that modality's hyperedges by noise alone.
Every sum is the same: seven hops in place of 28, what the gate gives of C once in place of once for
each modality, statistics of a normalisation from moments of what goes in, and S for the batch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.cache_schema.modality import Modality
from crossan.train.features.by_modality import modality_features
from crossan.train.layers.contrast import bayesian_ranking
from crossan.train.layers.distinct import DistinctRows, contrast
from crossan.train.layers.graph import adjacency
from crossan.train.layers.hyper_contrast import hyper_contrast
from crossan.train.layers.hyper_view import HyperView
from crossan.train.layers.hypergraph import Draws, Hypergraph, gumbel, step_draws, ties
from crossan.train.layers.mean_and_last import mean_and_last_hop
from crossan.train.layers.node_table import NodeTable
from crossan.train.layers.normed_gate import NormedAttention, NormedGate
from crossan.train.layers.rank_agreement import rank_agreement
from crossan.train.layers.sparse_matrix import SparseMatrix
from crossan.train.layers.view_fusion import fused_view
from crossan.train.layers.view_graphs import ModalityFeatures, ViewGraphs, view_graphs
from crossan.train.models.graph_parts import training_pairs
from crossan.train.models.recommender import ModelContext, ParameterGroups
from crossan.train.settings import MhcrSettings

__all__ = ["Mhcr", "build"]

_TEXT = Modality.TEXT.value
_TEMPERATURE, _RANK_TEMPERATURE = 0.2, 0.1
_PUBLISHED_ORDER = (Modality.IMAGE, Modality.TEXT, Modality.VIDEO, Modality.AUDIO)
"""In this order the code lets the running statistics of both nets see the modalities."""

Noise = Sequence[tuple[Tensor, Tensor]]
"""Of each modality, what is added to the logits of items and of users."""


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Tables of all nodes, users first, ``(users + items, width)`` each."""

    content: Tensor
    last: Tensor
    views: Sequence[Tensor]
    hyper: Sequence[Hypergraph]


class Mhcr(nn.Module):
    """Vectors of users and items from their graph, views and hypergraphs.

    Parameters
    ----------
    features
        Those of every modality, in the order in which the shared nets see them.
    graphs
        What vectors propagate over.
    pairs
        Ones where a user has an item, ``(users, items)``.
    settings
        Shape of the model and weights of the loss.
    batch_size
        Triples of a whole batch. The last one of an epoch is divided by it too.
    seed
        Seed of the noise outside training, where there is any.
    """

    def __init__(
        self,
        features: Sequence[ModalityFeatures],
        graphs: ViewGraphs,
        pairs: SparseMatrix,
        settings: MhcrSettings,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        self._graphs, self._pairs, self._settings = graphs, pairs, settings
        self._batch_size, self._seed = batch_size, seed
        self._user_count, self._item_count = pairs.shape
        width, hyperedges = settings.width, settings.hyperedges
        self.nodes = NodeTable(self._user_count, self._item_count, width)
        self.views = nn.ModuleDict(
            {one.modality.value: HyperView(one.table, width, hyperedges) for one in features}
        )
        self.gate = NormedGate(width)
        self.attention = NormedAttention(width)

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items, ``(rows, width)`` each."""
        if not self._settings.noise_at_evaluation:
            return self.vectors(None)
        device = self.nodes.users.device
        generator = torch.Generator(device).manual_seed(self._seed)
        items, users = (
            (count, self._settings.hyperedges, device, generator)
            for count in (self._item_count, self._user_count)
        )
        return self.vectors([(gumbel(*items), gumbel(*users)) for _ in self.views])

    def vectors(self, noise: Noise | None) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items when ties have this noise, ``(rows, width)`` each."""
        nodes = self._all_nodes(noise, None)
        vectors = self._scored(nodes, self._side(nodes) if self._scores_by_view else None)
        return vectors[: self._user_count], vectors[self._user_count :]

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the loss of triples, each ``(triples,)`` rows."""
        settings, counts = self._settings, (self._item_count, self._user_count)
        device = self.nodes.users.device
        draws = step_draws(
            len(self.views), counts, settings.hyperedges, settings.hyper_dropout, device
        )
        return torch.stack(list(self.loss_terms(users, items, others, draws).values())).sum()

    def loss_terms(
        self, users: Tensor, items: Tensor, others: Tensor, draws: Draws
    ) -> dict[str, Tensor]:
        """Return the terms of the loss of triples, with their weights, by name."""
        settings, rows = self._settings, DistinctRows.of(users, items, others)
        batch = rows.nodes(self._user_count)
        nodes = self._all_nodes(draws.noise, draws.kept)
        if self._scores_by_view:
            sides = self._side(nodes)
            vectors, side = self._scored(nodes, sides), sides.index_select(0, batch)
        else:
            vectors, side = self._scored(nodes, None), self._side(nodes, batch)
        of_batch, content = (one.index_select(0, batch) for one in (vectors, nodes.content))
        triples = rows.of_triples(of_batch)
        squares = torch.stack([part.square().sum() for part in triples]).sum()
        counted = (rows.user_counts(), rows.positive_counts())
        of_users, of_items = (
            contrast(side[at], content[at], counts, _TEMPERATURE) for at, counts in counted
        )
        hyper = self._hyper_loss(nodes, [(batch[at], counts) for at, counts in counted])
        ranks = [
            rank_agreement(graph.rows, view, permutation, _RANK_TEMPERATURE)
            for graph, view, permutation in zip(
                nodes.hyper, nodes.views, draws.permutations, strict=True
            )
        ]
        return {
            "ranking": bayesian_ranking(*triples),
            "norm": settings.norm_weight / (2 * self._batch_size) * squares,
            "contrast of users": settings.contrast_weight * of_users,
            "contrast of items": settings.contrast_weight * of_items,
            "norm of outputs": settings.output_norm_weight * self._norms(vectors),
            "hypergraphs": settings.hyper_weight * hyper,
            "ranks": settings.rank_weight * torch.stack(ranks).sum(),
        }

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing, as no epoch differs from another."""

    def parameter_groups(self) -> ParameterGroups:
        """Return all parameters, which take one rate as in the published code."""
        return ParameterGroups(list(self.parameters()))

    def item_rows(self) -> tuple[str, ...]:
        """Return the names of the free vectors of items and of their trained features."""
        return ("nodes.items", *(f"views.{name}.table" for name in self.views))

    @property
    def _scores_by_view(self) -> bool:
        return self._settings.variant == "as-written"

    def _all_nodes(self, noise: Noise | None, kept: Noise | None) -> _Nodes:
        """Propagate over all graphs, with this noise of ties and these of them kept."""
        content, last = mean_and_last_hop(self._graphs.nodes, self.nodes(), self._settings.hops)
        views, hyper = [], []
        for number, view in enumerate(self.views.values()):
            projected, logits = view()
            items = self.nodes.items * self.gate(projected)
            items = self._graphs.propagated(number, items, self._settings.item_hops)
            views.append(self._graphs.from_items @ items)
            of_items, of_users = (
                ties(
                    both,
                    self._settings.hyper_temperature,
                    None if noise is None else noise[number][place],
                    None if kept is None else kept[number][place],
                )
                for place, both in enumerate((logits, self._pairs @ logits))
            )
            start = content[self._user_count :]
            hyper.append(Hypergraph.of(of_users, of_items, start, self._settings.hyper_rounds))
        return _Nodes(content, last, views, hyper)

    def _side(self, nodes: _Nodes, at: Tensor | None = None) -> Tensor:
        """Return the view over all modalities of some nodes, or of all."""
        attention = [self.attention(view, at) for view in nodes.views]
        # The code asks the gate once for each modality, with the same answer.
        preference = self.gate(nodes.content, at, times=len(nodes.views))
        views = [view if at is None else view.index_select(0, at) for view in nodes.views]
        return fused_view(views, attention, [preference] * len(views))

    def _scored(self, nodes: _Nodes, side: Tensor | None) -> Tensor:
        """Return the vectors of all nodes, with the last hop where no view is given."""
        total = nodes.hyper[0].rows
        for graph in nodes.hyper[1:]:
            total = total + graph.rows
        vectors = nodes.content + (nodes.last if side is None else side)
        return torch.add(vectors, F.normalize(total), alpha=self._settings.hyper_share)

    def _norms(self, vectors: Tensor) -> Tensor:
        """Return the norms of both tables by the number of items."""
        parts = vectors.split([self._user_count, self._item_count])
        norms = torch.stack([torch.linalg.vector_norm(part) for part in parts])
        return norms.sum() / self._item_count

    def _hyper_loss(self, nodes: _Nodes, counted: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        sorts = (slice(0, self._user_count), slice(self._user_count, None))
        candidates = list(self.views).index(_TEXT) if _TEXT in self.views else 0
        losses = [
            hyper_contrast(nodes.hyper, candidates, sort, at, counts, _TEMPERATURE)
            for sort, (at, counts) in zip(sorts, counted, strict=True)
        ]
        return torch.stack(losses).sum()


def build(settings: MhcrSettings, context: ModelContext) -> Mhcr:
    """Build the model with random weights for the users, items and stores of a run."""
    pairs = training_pairs(context)
    features = sorted(
        modality_features(context.features), key=lambda one: _PUBLISHED_ORDER.index(one.modality)
    )
    graphs = view_graphs(pairs, features, settings.neighbours)
    ones = adjacency(pairs.users, pairs.items, pairs.user_count, pairs.item_count)
    matrix = SparseMatrix(ones, features[0].table.device, is_symmetric=False)
    return Mhcr(features, graphs, matrix, settings, context.batch_size, context.seed)
