r"""GRCN, a graph of users and items refined by content (Wei et al., ACM Multimedia 2020).

For each modality, :math:`x` are the unit rows of the users' preferences and of items' hidden states
brought to one width by a linear layer and a leaky ReLU. An edge from s into t has the weight
:math:`a_{ts}`, the softmax of :math:`x_t^T x_s` over the edges into t, and the content of a node
is :math:`x_t + \sum_s a_{ts} x_s`. The graph of ids has for each edge the weight

.. math:: w_{ts} = \mathrm{relu}\left( \max_m a^m_{ts} c^m_s \right)

with a learned confidence c of every node in every modality, and with y the unit rows of ids,
:math:`y + W y + W^2 y` is what ids add. A vector is all of these side by side, and the loss that of
Bayesian personalised ranking with

.. math:: \lambda \left( \overline{y_u^2 + y_i^2} + \overline{p_{visual}^2}
   + \sum_m \overline{p_m^2} \right)

added: means over the ids of a batch before they are scaled, over the visual preferences of all
users, and over those of a batch.

Source: the publication, and the code that its numbers in MMRec (Zhou, 2023) come from. What
differs:

- ``as-published``: that code routes along edges from users to items, which changes no user's
  preference. There is no routing, and the number of its rounds is no setting.
- ``as-written``: the paper's routing. In each round a preference becomes the unit vector of itself
  and of its items' content, weighted by a softmax over the items of a user; gradients pass through.
- Any number of modalities. Image and video are visual; without either, that term is left out.
- What is scored is computed from the weights as they are, and not kept from the last batch.
- The highest kept layer of each store (``model.layer``), and zeros where an item lacks a modality.

With U users, I items, M modalities of widths :math:`f_m`, d = ``width`` and c = ``content_width``
there are :math:`(U + I)(d + M) + M U c + \sum_m (f_m + 1) c` parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.cache_schema.modality import Modality
from crossan.train.features.whole import last_states
from crossan.train.layers.contrast import bayesian_ranking
from crossan.train.layers.distinct import DistinctRows
from crossan.train.layers.edge_attention import (
    attention,
    mutual_attention,
    weighted_sums,
    with_neighbours,
)
from crossan.train.layers.edges import Edges
from crossan.train.layers.unit_rows import unit_rows
from crossan.train.models.graph_parts import training_pairs
from crossan.train.models.recommender import ModelContext, ParameterGroups
from crossan.train.settings.graphs import GrcnSettings

__all__ = ["Grcn", "build"]

_VISUAL = (Modality.IMAGE, Modality.VIDEO)


class Grcn(nn.Module):
    """Propagate ids along edges that content weighs, and content along its own attention.

    Parameters
    ----------
    content
        Hidden states by modality, ``(items, dim)`` each.
    edges
        The pairs of the training parts, as `Edges.both_ways` makes them.
    user_count
        Users, with those in no pair.
    settings
        Widths, the weight of the regularising terms and the rounds of routing.
    is_visual
        Of each modality, whether the preferences of all users are regularised.
    """

    def __init__(
        self,
        content: Sequence[Tensor],
        edges: Edges,
        user_count: int,
        settings: GrcnSettings,
        is_visual: Sequence[bool],
    ) -> None:
        super().__init__()
        item_count, modality_count = len(content[0]), len(content)
        nodes, width = user_count + item_count, settings.width
        content_width = settings.content_width
        self._content, self._edges = list(content), edges
        self._norm_weight, self._rounds = settings.norm_weight, settings.rounds
        self._is_visual = list(is_visual)
        self._items_of_users = edges.among_first(user_count) if self._rounds else None
        self.user_ids = _drawn(user_count, width, fans=nodes + width)
        self.item_ids = _drawn(item_count, width, fans=nodes + width)
        fans = nodes + modality_count
        self.user_confidence = _drawn(user_count, modality_count, fans=fans)
        self.item_confidence = _drawn(item_count, modality_count, fans=fans)
        self.preferences = nn.ParameterList(
            _drawn(user_count, content_width, fans=user_count + content_width) for _ in content
        )
        maps = [nn.Linear(states.shape[1], content_width) for states in content]
        for linear in maps:
            nn.init.xavier_normal_(linear.weight)
        self.maps = nn.ModuleList(maps)

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items, ``width`` and ``content_width`` a modality."""
        edges = self._edges
        numbers = torch.arange(len(edges.sources), device=edges.sources.device)
        rows = torch.arange(len(edges.begins) - 1, device=edges.begins.device)
        users, items = self._vectors(rows, edges, numbers).split(
            [len(self.user_ids), len(self.item_ids)]
        )
        return users, items

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the mean of -ln sigma over triples, ``(triples,)`` rows, and what regularises."""
        batch = DistinctRows.of(users, items, others)
        rows = batch.nodes(len(self.user_ids))
        ranked = bayesian_ranking(*batch.of_triples(self._vectors(rows, *self._edges.into(rows))))
        return ranked + self._norm_weight * self._squares(users, torch.cat([items, others]))

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing, as no epoch differs from another."""

    def parameter_groups(self) -> ParameterGroups:
        """Return all parameters, which take one rate as in the published code."""
        return ParameterGroups(list(self.parameters()))

    def item_rows(self) -> tuple[str, ...]:
        """Return the names of the ids and the confidence of items."""
        return ("item_ids", "item_confidence")

    def _tables(self) -> list[Tensor]:
        """Return the unit vectors of all nodes by modality, ``(nodes, content_width)``."""
        return [
            self._table(preference, F.leaky_relu(linear(states)))
            for preference, linear, states in zip(
                self.preferences, self.maps, self._content, strict=True
            )
        ]

    def _table(self, preference: Tensor, mapped: Tensor) -> Tensor:
        edges = self._items_of_users
        if edges is None:
            return unit_rows(preference, mapped)
        users, items = unit_rows(preference), unit_rows(mapped)
        for _ in range(self._rounds):
            users = unit_rows(users + weighted_sums(attention(users, items, edges), items, edges))
        return torch.cat([users, items])

    def _edge_weights(self, tables: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return each modality's attention along every edge, and its weight in the graph of ids."""
        attentions = [mutual_attention(vectors, self._edges) for vectors in tables]
        confidence = torch.cat([self.user_confidence, self.item_confidence]).T
        weighted = [
            one * of_nodes[self._edges.sources]
            for one, of_nodes in zip(attentions, confidence.unbind(), strict=True)
        ]
        return attentions, torch.stack(weighted).amax(dim=0).relu()

    def _vectors(self, rows: Tensor, into: Edges, numbers: Tensor) -> Tensor:
        """Return the vectors of some nodes, each once, ``(rows, all widths)``.

        The attention of every edge and the first hop are needed for all nodes, the rest for these.
        """
        tables = self._tables()
        attentions, weights = self._edge_weights(tables)
        ids = unit_rows(self.user_ids, self.item_ids)
        first = weighted_sums(weights, ids, self._edges)
        propagated = ids[rows] + with_neighbours(weights[numbers], first, into, rows)
        content = [
            with_neighbours(one[numbers], vectors, into, rows)
            for one, vectors in zip(attentions, tables, strict=True)
        ]
        return torch.cat([propagated, *content], dim=1)

    def _squares(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the sum of what is regularised; a node counts as often as it stands there."""
        squares = _mean_square(users, self.user_ids) + _mean_square(items, self.item_ids)
        for preference, is_visual in zip(self.preferences, self._is_visual, strict=True):
            squares = squares + _mean_square(users, preference)
            if is_visual:
                squares = squares + preference.square().mean()
        return squares


def _drawn(rows: int, width: int, *, fans: int) -> nn.Parameter:
    """Return Xavier's normal numbers, for a part of a table whose shape has the sum `fans`."""
    return nn.Parameter(torch.randn(rows, width) * math.sqrt(2 / fans))


def _mean_square(rows: Tensor, table: Tensor) -> Tensor:
    return F.embedding(rows, table, sparse=True).square().mean()


def build(settings: GrcnSettings, context: ModelContext) -> Grcn:
    """Build the model with random weights for the users, items and stores of a run."""
    content = last_states(context.features)
    pairs, device = training_pairs(context), content[0].device
    users, items = (torch.from_numpy(part).to(device) for part in (pairs.users, pairs.items))
    edges = Edges.both_ways(users, items, pairs.user_count, pairs.item_count)
    is_visual = [modality in _VISUAL for modality in context.features.modalities]
    return Grcn(content, edges, pairs.user_count, settings, is_visual)
