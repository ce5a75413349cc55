"""MHCR written anew from its specification: dense, in float64, every row of everything, by autograd.

Names of weights are those of `crossan.train.models.mhcr`. All that is random is given. ``mistake`` makes one
on purpose: tests show that each would be noticed.
"""

from dataclasses import dataclass, field
from itertools import combinations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from support.mgcn_twin import Answer, Graph, contrast, light_hops

MISTAKES = (
    "fused view in the score",
    "without the last hop",
    "unit rows before the sum",
    "no unit rows",
    "divided by three",
    "a gate for each modality's statistics",
    "gate of content counted once",
    "gates in another order",
    "biased running variance",
    "normalised users' hyperedges",
    "noise after the temperature",
    "no dropout of users",
    "hyperedges of softmax over nodes",
    "normalised hypergraph",
    "one round less",
    "users of another round",
    "items of another start",
    "mean of hyper losses",
    "candidates of the first modality",
    "hyper loss without the third pair",
    "rank loss unsorted",
    "rank loss permutes hyper rows",
    "rank loss at the batch",
    "norms divided by nothing",
    "squared norms",
    "the actual size of the batch",
    "norms of the vectors of ids",
)


@dataclass
class HyperShape:
    """Settings of the twin."""

    neighbours: int
    batch_size: int
    hops: int = 7
    item_hops: int = 1
    hyper_rounds: int = 4
    hyper_temperature: float = 0.5
    keep: float = 0.7
    hyper_share: float = 0.05
    norm_weight: float = 1e-4
    contrast_weight: float = 0.01
    output_norm_weight: float = 0.1
    hyper_weight: float = 1e-5
    rank_weight: float = 0.01
    temperature: float = 0.2
    rank_temperature: float = 0.1
    is_as_written: bool = False
    mistake: str = ""


@dataclass
class Draws:
    """What is random in a pass; Gumbel noise and kept units by modality, of items and of users."""

    noise: list[tuple[Tensor, Tensor]]
    kept: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Empty in evaluation."""
    permutations: list[Tensor] = field(default_factory=list)


class Norm:
    """A batch normalisation with running statistics."""

    def __init__(self, weights, name, shape, *, is_training):
        self.weight, self.bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        self.mean = weights[f"{name}.running_mean"].double().clone()
        self.var = weights[f"{name}.running_var"].double().clone()
        self.batches = int(weights[f"{name}.num_batches_tracked"])
        self.is_training, self.mistake = is_training, shape.mistake

    def __call__(self, rows):
        mean, var = self.mean, self.var
        if self.is_training:
            mean, var = rows.mean(0), rows.var(0, unbiased=False)
            kept = var if self.mistake == "biased running variance" else rows.var(0)
            self.mean = 0.9 * self.mean + 0.1 * mean.detach()
            self.var = 0.9 * self.var + 0.1 * kept.detach()
            self.batches += 1
        return (rows - mean) / (var + 1e-5).sqrt() * self.weight + self.bias


class Gate:
    """Both nets that all modalities share."""

    def __init__(self, weights, shape, *, is_training):
        self.weights = weights
        self.norms = {
            name: Norm(weights, name, shape, is_training=is_training)
            for name in ("gate.first.norm", "gate.second.norm", "attention.query.norm")
        }

    def gate(self, rows):
        w = self.weights
        rows = F.linear(rows, w["gate.first.linear.weight"], w["gate.first.linear.bias"])
        rows = self.norms["gate.first.norm"](rows).relu()
        rows = F.linear(rows, w["gate.second.linear.weight"], w["gate.second.linear.bias"])
        return torch.sigmoid(self.norms["gate.second.norm"](rows))

    def attention(self, rows):
        w = self.weights
        rows = F.linear(rows, w["attention.query.linear.weight"], w["attention.query.linear.bias"])
        return self.norms["attention.query.norm"](rows).tanh() @ w["attention.attend.weight"].T

    def buffers(self):
        """Return running mean, variance and count of each norm."""
        return {name: (norm.mean, norm.var, norm.batches) for name, norm in self.norms.items()}


def views_and_side(weights, graph, shape, content, gate):
    """Return the views of each modality and the fused one, all nodes, users first."""
    normalised, views = graph.normalised(), []
    order = range(len(graph.features))
    gated = {}
    if shape.mistake == "gates in another order":
        preferences = [gate.gate(content) for _ in order]
    for number, modality in enumerate(graph.features):
        w = {
            name: weights[f"views.{modality}.{name}"]
            for name in ("table", "project.weight", "project.bias")
        }
        projected = F.linear(w["table"], w["project.weight"], w["project.bias"])
        if shape.mistake == "a gate for each modality's statistics":
            gate = Gate(weights, shape, is_training=gate.norms["attention.query.norm"].is_training)
        gated[number] = weights["nodes.items"] * gate.gate(projected)
    for number in order:
        items = gated[number]
        matrix = graph.similar(number, shape.neighbours)
        for _ in range(shape.item_hops):
            items = matrix @ items
        views.append(torch.cat([normalised @ items, items]))
    shares = torch.cat([gate.attention(view) for view in views], dim=1).softmax(dim=1)
    mean = sum(share[:, None] * view for share, view in zip(shares.T, views, strict=True))
    if shape.mistake == "gate of content counted once":
        preferences = [gate.gate(content)] * len(views)
    elif shape.mistake != "gates in another order":
        preferences = [gate.gate(content) for _ in views]
    side = mean + sum(p * (v - mean) for p, v in zip(preferences, views, strict=True))
    return views, side / (len(views) if shape.mistake == "divided by three" else len(views) + 1)


def hyper_views(weights, graph, shape, content, draws):
    """Return the hypergraph's rows of all nodes for each modality, users first."""
    mistake, views = shape.mistake, []
    binary = graph.normalised() if mistake == "normalised users' hyperedges" else graph.binary()
    for number, modality in enumerate(graph.features):
        logits = weights[f"views.{modality}.table"] @ weights[f"views.{modality}.hyper"]
        both = []
        for place, of in enumerate((logits, binary @ logits)):
            noise = draws.noise[number][place].double()
            shares = (of + noise) / shape.hyper_temperature
            if mistake == "noise after the temperature":
                shares = of / shape.hyper_temperature + noise
            shares = shares.softmax(dim=0 if mistake == "hyperedges of softmax over nodes" else 1)
            if draws.kept and not (place and mistake == "no dropout of users"):
                shares = shares * draws.kept[number][place] / shape.keep
            both.append(shares)
        of_items, of_users = both
        items = (
            weights["nodes.items"]
            if mistake == "items of another start"
            else content[graph.user_count :]
        )
        for _ in range(shape.hyper_rounds - (mistake == "one round less")):
            edges = of_items.T @ items
            if mistake == "normalised hypergraph":
                edges = edges / of_items.sum(0)[:, None]
            items = of_items @ edges
        if mistake == "users of another round":
            edges = of_items.T @ items
        views.append(torch.cat([of_users @ edges, items]))
    return views


def hyper_loss(rows, candidates, shape):
    """Return the loss of some nodes' rows in each modality, against all candidates."""
    unit = [F.normalize(one, dim=1) for one in rows]
    pairs = list(combinations(range(len(unit)), 2))
    if not pairs:
        return rows[0].new_zeros(())
    if shape.mistake == "hyper loss without the third pair":
        pairs = pairs[:-1]
    everyone = F.normalize(candidates, dim=1)
    near = sum(((unit[a] * unit[b]).sum(1) / shape.temperature).exp() for a, b in pairs)
    far = sum((one @ everyone.T / shape.temperature).exp().sum(1) for one in unit)
    losses = -(near / far).log()
    return losses.mean() if shape.mistake == "mean of hyper losses" else losses.sum()


def rank_loss(hyper, view, permutation, shape, rows):
    """Return the loss of the agreement of sorted coordinates, against those of another node."""
    first, second = hyper, view
    if shape.mistake != "rank loss unsorted":
        first, second = hyper.sort(dim=1).values, view.sort(dim=1).values
    other = second[permutation]
    if shape.mistake == "rank loss permutes hyper rows":
        other, first, second = second, second, first
        other = second[permutation]
    near = (F.cosine_similarity(first, second) / shape.rank_temperature).exp()
    far = (F.cosine_similarity(first, other) / shape.rank_temperature).exp()
    losses = -(near / (near + far)).log()
    return (losses[rows] if shape.mistake == "rank loss at the batch" else losses).mean()


def mhcr(weights, graph: Graph, shape: HyperShape, draws: Draws, batch=None):
    """Return vectors, buffers, and the loss of a batch where one is given."""
    mistake, count = shape.mistake, graph.user_count
    gate = Gate(weights, shape, is_training=bool(draws.kept))
    content, last = light_hops(
        graph.normalised(), weights["nodes.users"], weights["nodes.items"], shape.hops
    )
    views, side = views_and_side(weights, graph, shape, content, gate)
    hyper = hyper_views(weights, graph, shape, content, draws)
    together = F.normalize(sum(hyper), dim=1)
    if mistake == "unit rows before the sum":
        together = sum(F.normalize(one, dim=1) for one in hyper)
    if mistake == "no unit rows":
        together = sum(hyper)
    added = side if shape.is_as_written or mistake == "fused view in the score" else last
    if mistake == "without the last hop":
        added = torch.zeros_like(last)
    vectors = content + added + shape.hyper_share * together
    answer = Answer(vectors[:count], vectors[count:])
    answer.parts = {"content": content, "side": side, "buffers": gate.buffers()}
    answer.parts |= {f"view {number}": view for number, view in enumerate(views)}
    answer.parts |= {f"hyper {number}": view for number, view in enumerate(hyper)}
    if batch is not None:
        answer.losses = losses_of(weights, graph, shape, draws, batch, answer)
    return answer


def losses_of(weights, graph, shape, draws, batch, answer):
    """Return the terms of the loss by name."""
    (users, positives, negatives), mistake = batch, shape.mistake
    nodes = {"user": users, "item": positives + graph.user_count}
    modalities = range(len(graph.features))
    content, side = answer.parts["content"], answer.parts["side"]
    hyper = [answer.parts[f"hyper {number}"] for number in modalities]
    outputs = (answer.users[users], answer.items[positives], answer.items[negatives])
    normed = outputs
    if mistake == "norms of the vectors of ids":
        normed = (
            weights["nodes.users"][users],
            weights["nodes.items"][positives],
            weights["nodes.items"][negatives],
        )
    size = len(users) if mistake == "the actual size of the batch" else shape.batch_size
    bpr = F.softplus(-(outputs[0] * (outputs[1] - outputs[2])).sum(1)).mean()
    bpr = bpr + shape.norm_weight * sum((one**2).sum() for one in normed) / (2 * size)
    nce = {
        name: contrast(side[rows], content[rows], content[rows], shape.temperature)
        for name, rows in nodes.items()
    }
    power = 2 if mistake == "squared norms" else 1
    norm = answer.users.norm() ** power + answer.items.norm() ** power
    norm = norm if mistake == "norms divided by nothing" else norm / graph.item_count
    names = list(graph.features)
    is_read = "text" in names and mistake != "candidates of the first modality"
    number = names.index("text") if is_read else 0
    parts = {"user": slice(0, graph.user_count), "item": slice(graph.user_count, None)}
    of_hyper = sum(
        hyper_loss([one[rows] for one in hyper], hyper[number][parts[name]], shape)
        for name, rows in nodes.items()
    )
    rows = torch.cat([*nodes.values()])
    rank = sum(
        rank_loss(hyper[m], answer.parts[f"view {m}"], draws.permutations[m], shape, rows)
        for m in modalities
    )
    total = (
        bpr
        + shape.contrast_weight * (nce["user"] + nce["item"])
        + shape.output_norm_weight * norm
        + shape.hyper_weight * of_hyper
        + shape.rank_weight * rank
    )
    return {
        "bpr_and_l2": bpr, "infonce_user": nce["user"], "infonce_item": nce["item"],
        "embedding_norm": norm, "hyper": of_hyper, "rank": rank, "total": total,
    }  # fmt: skip
