r"""MMGCN, a tower of graph convolutions for each modality (Wei et al., ACM Multimedia 2019).

A tower starts with :math:`x^0`, the unit rows of the users' preferences and of items' hidden
states; those of images and videos go through a linear layer first. With :math:`\bar{A}` the mean
over the neighbours of a node (no self loop; zero without neighbours) and e the vectors of ids, which
all towers share, each of three layers is

.. math:: h = \mathrm{leaky}(\bar{A} x W), \quad y = \mathrm{leaky}(L x) + e, \quad
   x' = \mathrm{leaky}(G [h, y]).

The vectors of users and items are the means of the towers' outputs, and the loss is that of
Bayesian personalised ranking with
:math:`\lambda (\overline{e_u^2 + e_i^2} + \overline{p_{visual}^2})` added, means over the ids of a
batch and over the visual preferences of all users.

Source: the publication, and the code that its numbers in MMRec (Zhou, 2023) come from. What
differs:

- ``as-published``: in that code preferences and ids are no parameters. They stay at their random
  start, and the added terms change nothing but the loss that is printed. Nothing is learned of a
  single user or item; both tables are part of a checkpoint all the same.
- ``as-written``: they are learned, as the paper says.
- ``combination=sum`` is :math:`x' = \mathrm{leaky}(G h + y)`, which that code has and cannot reach.
- There are three layers, as in that code, whose setting for it is not read.
- Any number of modalities. Image and video are visual; without either, their term is left out.
- What is scored is computed from the weights as they are, and not kept from the last batch.
- The highest kept layer of each store (``model.layer``), and zeros where an item lacks a modality.

With d = ``width`` and w the width of a tower, which is v = ``visual_width`` or that of the hidden
states f, a tower has :math:`w^2 + w d + d + (w + d) d + d` parameters in its first layer,
:math:`2 (d^2 + d^2 + d + 2 d^2 + d)` in the others, and a visual one :math:`(f + 1) v` before them.
Joined by a sum, each layer has :math:`d^2` less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from scipy import sparse
from torch import Tensor, nn

from crossan.cache_schema.modality import Modality
from crossan.train.features.whole import last_states
from crossan.train.layers.contrast import bayesian_ranking
from crossan.train.layers.distinct import DistinctRows
from crossan.train.layers.graph import adjacency
from crossan.train.layers.graph_convolution import (
    Weights,
    convolution,
    convolution_at,
    wide_convolution,
)
from crossan.train.layers.sparse_matrix import SparseMatrix
from crossan.train.layers.unit_rows import unit_rows
from crossan.train.models.graph_parts import training_pairs
from crossan.train.models.recommender import ModelContext, ParameterGroups
from crossan.train.settings.graphs import MmgcnSettings

__all__ = ["Mmgcn", "NeighbourMeans", "build"]

_VISUAL = (Modality.IMAGE, Modality.VIDEO)
_LAYERS = 3


class NeighbourMeans:
    """Matrices that take the mean over neighbours.

    Parameters
    ----------
    pairs
        Which user has which item, ``(users, items)`` with ones.
    device
        Where the model computes.
    """

    def __init__(self, pairs: sparse.csr_array, device: torch.device) -> None:
        users, items = _by_row(pairs), _by_row(sparse.csr_array(pairs.T))
        both = sparse.block_array([[None, users], [items, None]], format="csr")
        self.of_users = SparseMatrix(users, device, is_symmetric=False)
        """Over the items of each user, ``(users, items)``."""
        self.of_items = SparseMatrix(items, device, is_symmetric=False)
        """Over the users of each item, ``(items, users)``."""
        self.of_nodes = SparseMatrix(sparse.csr_array(both), device, is_symmetric=False)
        """Both, users first, ``(users + items, users + items)``."""


@dataclass(frozen=True, slots=True)
class _Start:
    """What follows from the preferences of users in a modality."""

    users: Tensor
    """Their unit rows, ``(users, wide)``."""
    means: Tensor
    """The mean of these over the users of every item, ``(items, wide)``."""
    mean_square: Tensor
    """Of the numbers as they are, a scalar."""


class Tower(nn.Module):
    """The convolutions of one modality.

    Parameters
    ----------
    content
        Hidden states, ``(items, dim)``.
    means
        Over neighbours.
    settings
        Widths, how layers are joined, and whether preferences are learned.
    is_visual
        Whether hidden states go through a linear layer first.
    """

    preference: Tensor

    def __init__(
        self, content: Tensor, means: NeighbourMeans, settings: MmgcnSettings, *, is_visual: bool
    ) -> None:
        super().__init__()
        wide = settings.visual_width if is_visual else content.shape[1]
        width, joins = settings.width, settings.combination == "concat"
        self.is_visual, self._means = is_visual, means
        self._content = content if is_visual else unit_rows(content)
        self._kept: tuple[Tensor, int, _Start] | None = None
        user_count = means.of_users.shape[0]
        _hold(self, "preference", _drawn(user_count, wide, user_count + wide), settings)
        self.map = nn.Linear(content.shape[1], wide) if is_visual else None
        widths = [wide] + [width] * (_LAYERS - 1)
        self.weights = nn.ParameterList(torch.empty(one, one) for one in widths)
        own = [nn.Linear(one, width) for one in widths]
        joined = [nn.Linear(one + width * joins, width) for one in widths]
        self.own, self.joined = nn.ModuleList(own), nn.ModuleList(joined)
        for matrix in (*self.weights, *(one.weight for one in own), joined[0].weight):
            nn.init.xavier_normal_(matrix)

    def forward(self, ids: Tensor, rows: Tensor | None) -> Tensor:
        """Return the vectors of all nodes, or of some of them, ``(rows, width)``."""
        start = self.start()
        items = self._content if self.map is None else unit_rows(self.map(self._content))
        first, second, third = map(self._weights, range(_LAYERS))
        over = self._means
        vectors = wide_convolution(start.users, items, start.means, ids, first, over.of_users)
        vectors = convolution(vectors, ids, second, over.of_nodes)
        if rows is None:
            return convolution(vectors, ids, third, over.of_nodes)
        return convolution_at(rows, vectors, ids, third, over.of_nodes)

    def _weights(self, number: int) -> Weights:
        own, joined = (cast("nn.Linear", layers[number]) for layers in (self.own, self.joined))
        return Weights(self.weights[number], own.weight, own.bias, joined.weight, joined.bias)

    def start(self) -> _Start:
        """Return what follows from preferences alone."""
        if self.preference.requires_grad:
            return self._start()
        # Constants of a run, until other preferences are read from a checkpoint.
        preference, kept = self.preference, self._kept
        if kept is None or kept[0] is not preference or kept[1] != preference._version:
            kept = self._kept = (preference, preference._version, self._start())
        return kept[2]

    def _start(self) -> _Start:
        users = unit_rows(self.preference)
        return _Start(users, self._means.of_items @ users, self.preference.square().mean())


class Mmgcn(nn.Module):
    """Take the mean of towers, one for each modality, over a graph of users and items.

    Parameters
    ----------
    content
        Hidden states by modality, ``(items, dim)`` each.
    means
        Over neighbours in the training parts.
    settings
        Widths, variant, and the weight of the regularising terms.
    is_visual
        Of each modality, whether it is of images or videos.
    """

    user_ids: Tensor
    item_ids: Tensor

    def __init__(
        self,
        content: Sequence[Tensor],
        means: NeighbourMeans,
        settings: MmgcnSettings,
        is_visual: Sequence[bool],
    ) -> None:
        super().__init__()
        user_count, item_count = means.of_users.shape
        fans = user_count + item_count + settings.width
        _hold(self, "user_ids", _drawn(user_count, settings.width, fans), settings)
        _hold(self, "item_ids", _drawn(item_count, settings.width, fans), settings)
        self.towers = nn.ModuleList(
            Tower(states, means, settings, is_visual=visual)
            for states, visual in zip(content, is_visual, strict=True)
        )
        self._norm_weight = settings.norm_weight

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items, ``(users, width)`` and ``(items, width)``."""
        vectors = self._vectors(None)
        return vectors[: len(self.user_ids)], vectors[len(self.user_ids) :]

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the mean of -ln sigma over triples, ``(triples,)`` rows, and what regularises."""
        batch = DistinctRows.of(users, items, others)
        rows = batch.nodes(len(self.user_ids))
        ranked = bayesian_ranking(*batch.of_triples(self._vectors(rows)))
        return ranked + self._norm_weight * self._squares(users, torch.cat([items, others]))

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing, as no epoch differs from another."""

    def parameter_groups(self) -> ParameterGroups:
        """Return all parameters, which take one rate as in the published code."""
        return ParameterGroups(list(self.parameters()))

    def item_rows(self) -> tuple[str, ...]:
        """Return the name of the vectors of items."""
        return ("item_ids",)

    def _vectors(self, rows: Tensor | None) -> Tensor:
        ids = torch.cat([self.user_ids, self.item_ids])
        total, *others = (tower.forward(ids, rows) for tower in self._towers())
        for output in others:
            total = total + output
        return total / len(self.towers)

    def _towers(self) -> list[Tower]:
        return [cast("Tower", tower) for tower in self.towers]

    def _squares(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the sum of what is regularised; a node counts as often as it stands there."""
        squares = _mean_square(users, self.user_ids) + _mean_square(items, self.item_ids)
        for tower in self._towers():
            if tower.is_visual:
                squares = squares + tower.start().mean_square
        return squares


def _by_row(pairs: sparse.csr_array) -> sparse.csr_array:
    """Return a matrix whose rows have the sum 1, or nothing."""
    counts = pairs.indptr[1:] - pairs.indptr[:-1]
    scale = 1 / counts.clip(min=1)
    return sparse.csr_array(pairs.multiply(scale[:, None]))


def _drawn(rows: int, width: int, fans: int) -> Tensor:
    """Return Xavier's normal numbers, for a part of a table whose shape has the sum `fans`."""
    return torch.randn(rows, width) * math.sqrt(2 / fans)


def _hold(module: nn.Module, name: str, table: Tensor, settings: MmgcnSettings) -> None:
    """Make a table a parameter where it is learned, and else a part of checkpoints alone."""
    if settings.variant == "as-written":
        module.register_parameter(name, nn.Parameter(table))
    else:
        module.register_buffer(name, table)


def _mean_square(rows: Tensor, table: Tensor) -> Tensor:
    return F.embedding(rows, table, sparse=True).square().mean()


def build(settings: MmgcnSettings, context: ModelContext) -> Mmgcn:
    """Build the model with random weights for the users, items and stores of a run."""
    content, pairs = last_states(context.features), training_pairs(context)
    matrix = adjacency(pairs.users, pairs.items, pairs.user_count, pairs.item_count)
    means = NeighbourMeans(matrix, content[0].device)
    is_visual = [modality in _VISUAL for modality in context.features.modalities]
    return Mmgcn(content, means, settings, is_visual)
