"""GRCN and MMGCN as one writes them first: a message for every edge, gathered and scattered.

The arithmetic of the published code in plain torch: a table ``(edges, width)`` of messages in each pass,
gradients of tables that nobody follows, rounds of routing that change nothing, all nodes in all layers,
dense gradients. What is scored is kept from the last batch, as there, so validation propagates nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

__all__ = ["PlainGrcn", "PlainMmgcn"]

_WIDTH = 64
_ROUNDS = 3
_VISUAL_WIDTH = 256


def _scattered(messages: Tensor, targets: Tensor, node_count: int) -> Tensor:
    """Return the sum of messages at every node."""
    sums = messages.new_zeros(node_count, *messages.shape[1:])
    return sums.index_add(0, targets, messages)


def _ranking(vectors: Tensor, users: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    user = vectors[users]
    gaps = (user * vectors[positive]).sum(dim=1) - (user * vectors[negative]).sum(dim=1)
    return -torch.log(torch.sigmoid(gaps)).mean()


class _PlainGraph(nn.Module):
    """The edges, and what the last batch left to be scored."""

    def __init__(self, pairs: tuple[Tensor, Tensor], counts: tuple[int, int]) -> None:
        super().__init__()
        self.counts, self.node_count = counts, sum(counts)
        self.forth = torch.stack([pairs[0], pairs[1] + counts[0]])
        self.edges = torch.cat([self.forth, self.forth.flip(0)], dim=1)
        self.last = torch.zeros(self.node_count, 0)

    def begin_epoch(self) -> None:
        """Do nothing."""

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items."""
        users, items = self.last.split(list(self.counts))
        return users, items


class PlainGrcn(_PlainGraph):
    """GRCN."""

    def __init__(
        self, pairs: tuple[Tensor, Tensor], counts: tuple[int, int], features: list[Tensor]
    ) -> None:
        super().__init__(pairs, counts)
        self.features = features
        self.ids = nn.Parameter(nn.init.xavier_normal_(torch.empty(self.node_count, _WIDTH)))
        self.confidence = nn.Parameter(
            nn.init.xavier_normal_(torch.empty(self.node_count, len(features)))
        )
        self.preferences = nn.ParameterList(
            nn.init.xavier_normal_(torch.empty(counts[0], _WIDTH)) for _ in features
        )
        self.maps = nn.ModuleList(nn.Linear(states.shape[1], _WIDTH) for states in features)

    def attention(self, vectors: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Return what comes into every node, and the weight of every edge."""
        sources, targets = edges
        messages = vectors[sources]
        logits = (vectors[targets] * messages).sum(dim=1)
        highest = logits.new_full((self.node_count,), float("-inf"))
        highest = highest.scatter_reduce(0, targets, logits.detach(), "amax")
        shares = (logits - highest[targets]).exp()
        weights = shares / (_scattered(shares, targets, self.node_count)[targets] + 1e-16)
        return _scattered(messages * weights.unsqueeze(1), targets, self.node_count), weights

    def content(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the content of every node of a modality, and the weight of every edge."""
        users = F.normalize(self.preferences[number])
        items = F.normalize(F.leaky_relu(self.maps[number](self.features[number])))
        for _ in range(_ROUNDS):
            routed, _ = self.attention(torch.cat([users, items]), self.forth)
            users = F.normalize(users + routed[: self.counts[0]])
        vectors = torch.cat([users, items])
        incoming, weights = self.attention(vectors, self.edges)
        return vectors + incoming, weights

    def propagated(self, vectors: Tensor, weights: Tensor) -> Tensor:
        """Return what comes into every node along weighted edges."""
        messages = vectors[self.edges[0]] * weights.unsqueeze(1)
        return _scattered(messages, self.edges[1], self.node_count)

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the loss of triples."""
        contents, weights = zip(*map(self.content, range(len(self.features))), strict=True)
        confident = torch.stack(weights, dim=1) * self.confidence[self.edges[0]]
        pruned = confident.max(dim=1).values.relu()
        ids = F.normalize(self.ids)
        first = self.propagated(ids, pruned)
        ids = ids + first + self.propagated(first, pruned)
        vectors = torch.cat([ids, *contents], dim=1)
        self.last = vectors.detach()
        positive, negative = items + self.counts[0], others + self.counts[0]
        both, twice = torch.cat([positive, negative]), torch.cat([users, users])
        squares = (self.ids[twice] ** 2 + self.ids[both] ** 2).mean()
        squares = squares + (self.preferences[-1] ** 2).mean()
        squares = squares + sum((one[twice] ** 2).mean() for one in self.preferences)
        return _ranking(vectors, users, positive, negative) + 1e-3 * squares


class PlainMmgcn(_PlainGraph):
    """MMGCN; of the features the last are visual."""

    def __init__(
        self, pairs: tuple[Tensor, Tensor], counts: tuple[int, int], features: list[Tensor]
    ) -> None:
        super().__init__(pairs, counts)
        self.features = features
        self.ids = self.table(self.node_count, _WIDTH)
        wide = [*(states.shape[1] for states in features[:-1]), _VISUAL_WIDTH]
        self.preferences = [self.table(counts[0], one) for one in wide]
        self.map = nn.Linear(features[-1].shape[1], _VISUAL_WIDTH)
        widths = [[one, _WIDTH, _WIDTH] for one in wide]
        self.weights = nn.ParameterList(
            nn.init.xavier_normal_(torch.empty(one, one)) for tower in widths for one in tower
        )
        self.own = nn.ModuleList(nn.Linear(one, _WIDTH) for tower in widths for one in tower)
        self.joined = nn.ModuleList(
            nn.Linear(one + _WIDTH, _WIDTH) for tower in widths for one in tower
        )
        degrees = torch.bincount(self.edges[1], minlength=self.node_count)
        self.degrees = degrees.clamp(min=1).unsqueeze(1)

    @staticmethod
    def table(rows: int, width: int) -> Tensor:
        """Return a table with a gradient, which is no parameter."""
        return nn.init.xavier_normal_(torch.empty(rows, width)).requires_grad_()

    def mean(self, vectors: Tensor) -> Tensor:
        """Return the mean over the neighbours of every node."""
        sums = _scattered(vectors[self.edges[0]], self.edges[1], self.node_count)
        return sums / self.degrees

    def tower(self, number: int) -> Tensor:
        """Return the output of a tower."""
        items = self.features[number]
        items = self.map(items) if number == len(self.features) - 1 else items
        vectors = F.normalize(torch.cat([self.preferences[number], items]))
        for layer in range(3 * number, 3 * number + 3):
            messages = F.leaky_relu(self.mean(vectors @ self.weights[layer]))
            itself = F.leaky_relu(self.own[layer](vectors)) + self.ids
            vectors = F.leaky_relu(self.joined[layer](torch.cat([messages, itself], dim=1)))
        return vectors

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the loss of triples."""
        vectors = sum(map(self.tower, range(len(self.features)))) / len(self.features)
        self.last = vectors.detach()
        positive, negative = items + self.counts[0], others + self.counts[0]
        both, twice = torch.cat([positive, negative]), torch.cat([users, users])
        squares = (self.ids[twice] ** 2 + self.ids[both] ** 2).mean()
        squares = squares + (self.preferences[-1] ** 2).mean()
        return _ranking(vectors, users, positive, negative) + 1e-5 * squares
