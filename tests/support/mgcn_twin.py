"""MGCN written anew from its specification: dense, in float64, every row of everything, by autograd.

Names of weights are those of `crossan.train.models.mgcn`. ``mistake`` makes one on purpose: tests show
that each would be noticed.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

MISTAKES = (
    "binary neighbours",
    "degrees of both sides",
    "an item is not its own neighbour",
    "the actual size of the batch",
    "divided by two",
    "norms of the vectors of ids",
    "temperature of the settings nobody reads",
    "anchor and candidates exchanged",
    "contrast of negatives too",
    "contrast over all nodes",
    "contrast without gradient of content",
    "only the last hop",
    "gates swapped",
    "preference of the view",
    "users of items before the item graph",
    "items gated by content are not ids",
    "score by content alone",
    "attention without tanh",
)


@dataclass
class Graph:
    """Training pairs and raw features of a small world."""

    user_count: int
    item_count: int
    pairs: Tensor
    """``(pairs, 2)``, perhaps with duplicates."""
    features: dict[str, Tensor]
    """``(items, dim)`` each, by modality."""
    presence: Tensor | None = None
    """``(items, modalities)`` bool; None where all are there."""
    matrices: tuple[Tensor, list[Tensor]] | None = None
    """Those of users and of items to be used as they are, instead of what follows from the rest."""

    def binary(self):
        """Return the users by items matrix of ones."""
        matrix = torch.zeros(self.user_count, self.item_count, dtype=torch.float64)
        matrix[self.pairs[:, 0], self.pairs[:, 1]] = 1.0
        return matrix

    def normalised(self):
        """Return the matrix divided by the roots of both degrees."""
        if self.matrices is not None:
            return self.matrices[0]
        binary = self.binary()
        users, items = inverse_root(binary.sum(1)), inverse_root(binary.sum(0))
        return users[:, None] * binary * items[None, :]

    def similar(self, number, neighbours, mistake=""):
        """Return the graph of items of a modality."""
        if self.matrices is not None:
            return self.matrices[1][number]
        features = [*self.features.values()][number]
        return item_graph(features, self.is_there(number), neighbours, mistake)

    def is_there(self, modality):
        """Return which items have a modality."""
        everything = torch.ones(self.item_count, dtype=torch.bool)
        return everything if self.presence is None else self.presence[:, modality]


@dataclass
class Shape:
    """Settings of the twin."""

    neighbours: int
    batch_size: int
    hops: int = 2
    item_hops: int = 1
    norm_weight: float = 1e-4
    contrast_weight: float = 0.01
    temperature: float = 0.2
    is_as_written: bool = False
    mistake: str = ""


@dataclass
class Answer:
    """What a forward pass gives."""

    users: Tensor
    items: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)
    parts: dict[str, Tensor] = field(default_factory=dict)


def inverse_root(degrees):
    """Return 1 / sqrt, and zero of zero."""
    return torch.where(degrees > 0, degrees.clamp(min=1e-300) ** -0.5, 0.0)


def item_graph(features, is_there, neighbours, mistake=""):
    """Return the dense item graph: kept cosines by the roots of the sums of rows."""
    unit = F.normalize(features.double().masked_fill(~is_there[:, None], 0.0), dim=1)
    cosines = unit @ unit.T
    cosines[:, ~is_there] = -torch.inf
    if mistake == "an item is not its own neighbour":
        cosines.fill_diagonal_(-torch.inf)
    kept = cosines.topk(min(neighbours, int(is_there.sum())), dim=1).indices
    graph = torch.zeros_like(cosines)
    graph.scatter_(1, kept, torch.gather(cosines, 1, kept))
    graph[~is_there] = 0.0
    if mistake == "binary neighbours":
        graph = (graph != 0).double()
    rows = inverse_root(graph.sum(1))
    columns = inverse_root(graph.sum(0)) if mistake == "degrees of both sides" else rows
    return rows[:, None] * graph * columns[None, :]


def light_hops(normalised, users, items, hops, mistake=""):
    """Return the mean over hops of the vectors of users and items, and the last hop's."""
    user_hops, item_hops = [users], [items]
    for _ in range(hops):
        users, items = normalised @ items, normalised.T @ users
        user_hops.append(users)
        item_hops.append(items)
    if mistake == "only the last hop":
        return torch.cat([users, items]), torch.cat([users, items])
    mean = torch.cat([torch.stack(user_hops).mean(0), torch.stack(item_hops).mean(0)])
    return mean, torch.cat([users, items])


def contrast(anchors, candidates, positives, temperature):
    """Return the mean of -log(exp(cos to one's own) / sum over all candidates)."""
    a, c, p = (F.normalize(vectors, dim=1) for vectors in (anchors, candidates, positives))
    logits = a @ c.T / temperature
    return (logits.logsumexp(dim=1) - (a * p).sum(1) / temperature).mean()


def content_and_side(weights, graph, shape):
    """Return the content vectors and the fused view of all nodes, users first."""
    mistake = shape.mistake
    normalised = graph.normalised()
    content, _ = light_hops(
        normalised, weights["nodes.users"], weights["nodes.items"], shape.hops, mistake
    )
    views, preferences = [], []
    for number, modality in enumerate(graph.features):
        weight = {name: weights[f"views.{modality}.{name}"] for name in NAMES}
        projected = F.linear(weight["table"], weight["project.weight"], weight["project.bias"])
        gate, prefer = ("prefer", "gate") if mistake == "gates swapped" else ("gate", "prefer")
        logits = F.linear(projected, weight[f"{gate}.weight"], weight[f"{gate}.bias"])
        gated = (
            projected if mistake == "items gated by content are not ids" else weights["nodes.items"]
        )
        items = gated * torch.sigmoid(logits)
        matrix = graph.similar(number, shape.neighbours, mistake)
        before = items
        for _ in range(shape.item_hops):
            items = matrix @ items
        of_users = before if mistake == "users of items before the item graph" else items
        views.append(torch.cat([normalised @ of_users, items]))
        read = views[-1] if mistake == "preference of the view" else content
        preferences.append(
            torch.sigmoid(F.linear(read, weight[f"{prefer}.weight"], weight[f"{prefer}.bias"]))
        )
    scores = []
    for view in views:
        asked = F.linear(view, weights["query.weight"], weights["query.bias"])
        asked = asked if mistake == "attention without tanh" else asked.tanh()
        scores.append(asked @ weights["attend.weight"].T)
    shares = torch.cat(scores, dim=1).softmax(dim=1)
    common = sum(share[:, None] * view for share, view in zip(shares.T, views, strict=True))
    side = common + sum(p * (v - common) for p, v in zip(preferences, views, strict=True))
    parts = len(views) if mistake == "divided by two" else len(views) + 1
    return content, side / parts


NAMES = (
    "table", "project.weight", "project.bias", "gate.weight", "gate.bias", "prefer.weight", "prefer.bias",
)  # fmt: skip


def mgcn(weights, graph, shape, batch=None):
    """Return vectors, and the loss of a batch ``(users, positives, negatives)`` where one is given."""
    mistake, count = shape.mistake, graph.user_count
    content, side = content_and_side(weights, graph, shape)
    vectors = content if mistake == "score by content alone" else content + side
    answer = Answer(vectors[:count], vectors[count:], parts={"content": content, "side": side})
    if batch is None:
        return answer
    users, positives, negatives = batch
    outputs = (answer.users[users], answer.items[positives], answer.items[negatives])
    normed = outputs
    if mistake == "norms of the vectors of ids":
        ids, items = weights["nodes.users"], weights["nodes.items"]
        normed = (ids[users], items[positives], items[negatives])
    size = len(users) if mistake == "the actual size of the batch" else shape.batch_size
    of = {"user": users, "item": positives + count}
    if mistake == "contrast of negatives too":
        of["item"] = torch.cat([positives, negatives]) + count
    everyone = {"user": slice(0, count), "item": slice(count, None)}
    over_all = shape.is_as_written or mistake == "contrast over all nodes"
    temperature = (
        0.5 if mistake == "temperature of the settings nobody reads" else shape.temperature
    )
    first, second = side, content
    if mistake == "anchor and candidates exchanged":
        first, second = content, side
    if mistake == "contrast without gradient of content":
        second = second.detach()
    nce = {
        name: contrast(first[rows], second[everyone[name] if over_all else rows], second[rows], temperature)
        for name, rows in of.items()
    }  # fmt: skip
    difference = (outputs[0] * (outputs[1] - outputs[2])).sum(1)
    bpr = F.softplus(-difference).mean()
    norms = shape.norm_weight * sum((one**2).sum() for one in normed) / (2 * size)
    total = bpr + norms + shape.contrast_weight * (nce["user"] + nce["item"])
    answer.losses = {
        "bpr": bpr, "l2": norms, "infonce_user": nce["user"], "infonce_item": nce["item"], "total": total,
    }  # fmt: skip
    return answer
