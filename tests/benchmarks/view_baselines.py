"""MGCN and MHCR as their code computes them: COO products, every row of everything, dense gradients.

Plain torch, written from the specification. They are what `bench_graphs.py` measures ours against, and
no model of the program.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from scipy import sparse
from torch import Tensor, nn

from crossan.cache_schema.modality import Modality
from crossan.train.layers.graph import adjacency, normalised_bipartite
from crossan.train.layers.similarity_graph import similarity_graph

__all__ = ["PlainMgcn", "PlainMhcr"]


def as_coo(matrix: sparse.csr_array) -> Tensor:
    """Return a matrix as a tensor of coordinates."""
    coo = matrix.tocoo()
    places = torch.stack([torch.from_numpy(one.astype("int64")) for one in coo.coords])
    size = (coo.shape[0], coo.shape[1])
    return torch.sparse_coo_tensor(places, torch.from_numpy(coo.data), size).coalesce()


def info_nce(anchors: Tensor, positives: Tensor, temperature: float = 0.2) -> Tensor:
    """Return the contrastive loss within a batch."""
    anchors, positives = F.normalize(anchors, dim=1), F.normalize(positives, dim=1)
    near = ((anchors * positives).sum(dim=1) / temperature).exp()
    far = (anchors @ positives.T / temperature).exp().sum(dim=1)
    return -(near / far).log().mean()


class PlainMgcn(nn.Module):
    """MGCN with hops, views and gates of all nodes in every step."""

    hop_count = 2

    def __init__(
        self, pairs: tuple[Tensor, Tensor], counts: tuple[int, int], features: list[Tensor]
    ) -> None:
        super().__init__()
        places = [part.numpy() for part in pairs]
        nodes = normalised_bipartite(*places, *counts)
        self.user_count = counts[0]
        self.nodes = as_coo(nodes)
        self.of_users = as_coo(nodes[: counts[0], counts[0] :].tocsr())
        self.pairs = as_coo(adjacency(*places, *counts))
        modality, everything = Modality.TEXT, torch.ones(counts[1], dtype=torch.bool)
        self.similar = [as_coo(similarity_graph(one, everything, 10, modality)) for one in features]
        self.users, self.items = (nn.Embedding(count, 64) for count in counts)
        self.tables = nn.ModuleList(
            nn.Embedding.from_pretrained(one, freeze=False) for one in features
        )
        self.project = nn.ModuleList(nn.Linear(one.shape[1], 64) for one in features)
        for free in (self.users, self.items):
            nn.init.xavier_uniform_(free.weight)
        self.make_gates(64)

    def begin_epoch(self) -> None:
        """Do nothing."""

    def make_gates(self, width: int) -> None:
        """Make what purifies, prefers and attends."""
        modalities = range(len(self.tables))
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.Sigmoid()) for _ in modalities
        )
        self.prefers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.Sigmoid()) for _ in modalities
        )
        self.attention = nn.Sequential(
            nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False)
        )

    def content(self) -> tuple[Tensor, Tensor]:
        """Return the mean of all hops, and the last one."""
        last = torch.cat([self.users.weight, self.items.weight])
        hops = [last]
        for _ in range(self.hop_count):
            last = torch.sparse.mm(self.nodes, last)
            hops.append(last)
        return torch.stack(hops, dim=1).mean(dim=1), last

    def views(self) -> list[Tensor]:
        """Return the view of every modality."""
        views = []
        for table, project, gate, similar in zip(
            self.tables, self.project, self.gates, self.similar, strict=True
        ):
            items = torch.multiply(self.items.weight, gate(project(table.weight)))
            items = torch.sparse.mm(similar, items)
            views.append(torch.cat([torch.sparse.mm(self.of_users, items), items]))
        return views

    def side(self, views: Sequence[Tensor], content: Tensor) -> Tensor:
        """Return the fused view."""
        shares = torch.cat([self.attention(view) for view in views], dim=1).softmax(dim=1)
        common = sum(shares[:, m].unsqueeze(1) * view for m, view in enumerate(views))
        apart = [view - common for view in views]
        preferred = [
            torch.multiply(prefer(content), one)
            for prefer, one in zip(self.prefers, apart, strict=True)
        ]
        fused: Tensor = (sum(preferred) + common) / (len(views) + 1)
        return fused

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items."""
        content, _ = self.content()
        vectors = content + self.side(self.views(), content)
        return vectors[: self.user_count], vectors[self.user_count :]

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the loss of triples."""
        content, _ = self.content()
        side = self.side(self.views(), content)
        return self.common_terms(content + side, content, side, users, items, others)

    def common_terms(
        self,
        vectors: Tensor,
        content: Tensor,
        side: Tensor,
        users: Tensor,
        items: Tensor,
        others: Tensor,
    ) -> Tensor:
        """Return the ranking loss, the norms and both contrastive terms."""
        rows = self.user_count + items
        u, p, n = vectors[users], vectors[rows], vectors[self.user_count + others]
        ranking = -F.logsigmoid((u * p).sum(dim=1) - (u * n).sum(dim=1)).mean()
        norms = 1e-4 * (u.square().sum() + p.square().sum() + n.square().sum()) / (2 * 2048)
        contrasts = info_nce(side[rows], content[rows]) + info_nce(side[users], content[users])
        return ranking + norms + 0.01 * contrasts


class PlainMhcr(PlainMgcn):
    """MHCR with 28 hops, one gate asked six times, and the hyper loss as tables of exponentials."""

    hop_count = 7

    def __init__(
        self, pairs: tuple[Tensor, Tensor], counts: tuple[int, int], features: list[Tensor]
    ) -> None:
        super().__init__(pairs, counts, features)
        self.hyper = nn.ParameterList(
            nn.init.xavier_uniform_(torch.empty(one.shape[1], 32)) for one in features
        )

    def make_gates(self, width: int) -> None:
        """Make the gate and the attention that all modalities share."""
        gate = nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.Sigmoid(),
        )  # fmt: skip
        self.gates = nn.ModuleList([gate] * len(self.tables))
        self.prefers = self.gates
        self.attention = nn.Sequential(
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.Tanh(),
            nn.Linear(width, 1, bias=False),
        )

    def hypergraphs(self) -> list[Tensor]:
        """Return the hypergraph's rows of every modality."""
        rows = []
        for table, hyper in zip(self.tables, self.hyper, strict=True):
            of_items = table.weight @ hyper
            of_users = torch.sparse.mm(self.pairs, of_items)
            tied = [F.gumbel_softmax(one, 0.5, hard=False, dim=1) for one in (of_items, of_users)]
            tied = [F.dropout(one, 0.3, self.training) for one in tied]
            items = self.content()[0][self.user_count :]
            for _ in range(4):
                edges = tied[0].T @ items
                items = tied[0] @ edges
            rows.append(torch.cat([tied[1] @ edges, items]))
        return rows

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items."""
        content, last = self.content()
        self.side(self.views(), content)
        vectors = content + last + 0.05 * F.normalize(sum(self.hypergraphs()), dim=1)
        return vectors[: self.user_count], vectors[self.user_count :]

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the loss of triples."""
        content, last = self.content()
        views = self.views()
        side = self.side(views, content)
        hyper = self.hypergraphs()
        vectors = content + last + 0.05 * F.normalize(sum(hyper), dim=1)
        total = self.common_terms(vectors, content, side, users, items, others)
        all_users, all_items = vectors[: self.user_count], vectors[self.user_count :]
        total = total + 0.1 * (all_users.norm() + all_items.norm()) / len(all_items)
        for rows, part in (
            (users, slice(0, self.user_count)),
            (items, slice(self.user_count, None)),
        ):
            total = total + 1e-5 * self.hyper_loss([one[part] for one in hyper], rows)
        for one, view in zip(hyper, views, strict=True):
            total = total + 0.01 * self.rank_loss(one, view)
        return total

    def hyper_loss(self, hyper: Sequence[Tensor], rows: Tensor) -> Tensor:
        """Return the contrastive loss between hypergraphs."""
        unit = [F.normalize(one, dim=1) for one in hyper]
        a, b, c = (one[rows] for one in unit)
        near = sum(((x * y).sum(dim=1) / 0.2).exp() for x, y in ((a, b), (a, c), (b, c)))
        far = sum((x @ unit[0].T / 0.2).exp().sum(dim=1) for x in (a, b, c))
        losses: Tensor = -(near / far).log()
        return losses.sum()

    def rank_loss(self, hyper: Tensor, view: Tensor) -> Tensor:
        """Return the loss of sorted coordinates."""
        first, second = hyper.sort(dim=1).values, view.sort(dim=1).values
        other = second[torch.randperm(len(second))]
        near = (F.cosine_similarity(first, second) / 0.1).exp()
        far = (F.cosine_similarity(first, other) / 0.1).exp()
        return -(near / (near + far)).log().mean()
