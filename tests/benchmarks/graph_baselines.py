"""Graph models as one writes them first: the arithmetic of MMRec's loop, in plain torch.

COO tensors, dense gradients, all hops over the whole graph, all items projected in each step,
vectors of users and items concatenated, `torch.optim.Adam`, and the best 50 of all items by
``topk``. What MMRec does beside that (negatives in a loop of Python, the test part after each
epoch) is left out, so that a ratio is a cautious one.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

__all__ = ["PlainBm3", "PlainFreedom", "plain_figures", "sparse_graph"]

_USERS_PER_BLOCK = 4096
_BEST = 50


def sparse_graph(users: Tensor, items: Tensor, user_count: int, item_count: int) -> Tensor:
    """Return the normalised graph as a COO tensor, ``(users + items, users + items)``."""
    by_user = torch.bincount(users, minlength=user_count) + 1e-7
    by_item = torch.bincount(items, minlength=item_count) + 1e-7
    values = (by_user[users] ** -0.5 * by_item[items] ** -0.5).float()
    places = torch.stack(
        [torch.cat([users, items + user_count]), torch.cat([items + user_count, users])]
    )
    size = (user_count + item_count,) * 2
    return torch.sparse_coo_tensor(places, values.repeat(2), size).coalesce()


def plain_figures(vectors: tuple[Tensor, Tensor], seen: Tensor, targets: Tensor) -> float:
    """Return HR@10 of one target for each user, from the best 50 of each; ``seen`` is ``(2, pairs)``."""
    users, items = vectors
    hits = 0
    for block in torch.arange(len(users)).split(_USERS_PER_BLOCK):
        scores = users[block] @ items.T
        is_of_block = (seen[0] >= block[0]) & (seen[0] <= block[-1])
        scores[seen[0][is_of_block] - block[0], seen[1][is_of_block]] = -1e10
        best = scores.topk(_BEST).indices[:, :10]
        hits += int((best == targets[block].unsqueeze(1)).sum())
    return hits / len(users)


class PlainVectors(nn.Module):
    """What both begin with: vectors of users and items, the graph, and trainable features."""

    def __init__(
        self, pairs: tuple[Tensor, Tensor], counts: tuple[int, int], features: list[Tensor]
    ) -> None:
        super().__init__()
        self.pairs, self.counts = pairs, counts
        self.users, self.items = (nn.Embedding(count, 64) for count in counts)
        self.tables = nn.ModuleList(
            nn.Embedding.from_pretrained(states, freeze=False) for states in features
        )
        self.projections = nn.ModuleList(nn.Linear(states.shape[1], 64) for states in features)
        for table in (self.users, self.items):
            nn.init.xavier_uniform_(table.weight)
        self.graph = sparse_graph(*pairs, *counts)

    def hops(self, graph: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of two hops, parted."""
        table = torch.cat([self.users.weight, self.items.weight])
        layers = [table]
        for _ in range(2):
            layers.append(torch.sparse.mm(graph, layers[-1]))
        mean = torch.stack(layers, dim=1).mean(dim=1)
        users, items = mean.split(list(self.counts))
        return users, items

    def projected(self) -> list[Tensor]:
        """Return the projected features of all items, of each modality."""
        return [
            projection(table.weight)
            for projection, table in zip(self.projections, self.tables, strict=True)
        ]

    def begin_epoch(self) -> None:
        """Do nothing."""


def _ranking(users: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    return -F.logsigmoid((users * positive).sum(dim=1) - (users * negative).sum(dim=1)).mean()


class PlainFreedom(PlainVectors):
    """FREEDOM."""

    def __init__(
        self, pairs: tuple[Tensor, Tensor], counts: tuple[int, int], features: list[Tensor]
    ) -> None:
        super().__init__(pairs, counts, features)
        item_count, neighbours = counts[1], 10
        # At random: what a step costs does not depend on which they are.
        columns = torch.from_numpy(
            np.random.default_rng(0).integers(0, item_count, (2, item_count, neighbours))
        )
        rows = torch.arange(item_count).repeat_interleave(neighbours).repeat(2)
        values = torch.full((len(rows),), 0.5 / neighbours)
        self.item_graph = torch.sparse_coo_tensor(
            torch.stack([rows, columns.flatten()]), values, (item_count, item_count)
        ).coalesce()
        self.pruned = self.graph

    def begin_epoch(self) -> None:
        """Draw a fifth of the pairs."""
        users, items = self.pairs
        by_user, by_item = (torch.bincount(part).float() for part in (users, items))
        weights = (by_user[users] * by_item[items]) ** -0.5
        kept = torch.multinomial(weights, len(users) // 5)
        self.pruned = sparse_graph(users[kept], items[kept], *self.counts)

    def vectors(self, graph: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items."""
        users, items = self.hops(self.graph if graph is None else graph)
        return users, items + torch.sparse.mm(self.item_graph, self.items.weight)

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the loss of triples."""
        user_vectors, item_vectors = self.vectors(self.pruned)
        user = user_vectors[users]
        loss = _ranking(user, item_vectors[items], item_vectors[others])
        for projected in self.projected():
            loss = loss + 1e-3 * _ranking(user, projected[items], projected[others])
        return loss


class PlainBm3(PlainVectors):
    """BM3."""

    def __init__(
        self, pairs: tuple[Tensor, Tensor], counts: tuple[int, int], features: list[Tensor]
    ) -> None:
        super().__init__(pairs, counts, features)
        self.predictor = nn.Linear(64, 64)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return what is scored."""
        users, items = self.hops(self.graph)
        return self.predictor(users), self.predictor(items + self.items.weight)

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the loss of pairs."""
        del others
        user_vectors, item_vectors = self.hops(self.graph)
        item_vectors = item_vectors + self.items.weight
        every = [user_vectors, item_vectors, *self.projected()]
        targets = [F.dropout(vectors.detach(), 0.3) for vectors in every]
        predicted = [self.predictor(vectors) for vectors in every]
        rows = [users, *[items] * (len(every) - 1)]
        user, item, *content = (views[row] for views, row in zip(predicted, rows, strict=True))
        user_target, item_target, *content_targets = (
            views[row] for views, row in zip(targets, rows, strict=True)
        )
        loss = _apart(user, item_target) + _apart(item, user_target)
        loss = loss + 0.1 * (user_vectors.norm() + item_vectors.norm()) / len(item_vectors)
        for view, target in zip(content, content_targets, strict=True):
            loss = loss + 2 * (_apart(view, item_target) + _apart(view, target))
        return loss


def _apart(predicted: Tensor, target: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(predicted, target).mean()
