"""MMGCN written slowly from its specification: dense and in float64.

``mistake`` names one of `MISTAKES` to make, each of which is easily made in a fast model: the golden
numbers must tell every one of them.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

MISTAKES = (
    "self loops",
    "symmetric normalisation",
    "sum over neighbours",
    "two layers",
    "combined by sum",
    "rows not of length 1",
    "weights after the activation",
    "transposed weights",
    "own vector before neighbours",
    "ids within the activation",
    "no ids",
    "slope of 0.2",
    "sum of towers",
    "no preference term",
    "all rows regularised",
    "preferences of all modalities regularised",
)


def mmgcn(ids, towers, features, edges, user_count, *, combination="concat", mistake=None):
    """Return user and item vectors, and the output of each tower.

    ``ids`` (users + items, d). Each tower: ``preference``, ``map`` (weight and bias, or None), and for each layer
    ``weights`` (W), ``own`` and ``joined`` (weight and bias each), lists. ``edges``: pairs of user and item.
    """
    mean = neighbour_mean(edges, user_count, len(ids) - user_count, mistake)
    outputs = []
    for tower, states in zip(towers, features, strict=True):
        mapped = states if tower["map"] is None else F.linear(states, *tower["map"])
        vectors = torch.cat([tower["preference"], mapped])
        if mistake != "rows not of length 1":
            vectors = F.normalize(vectors)
        layers = list(zip(tower["weights"], tower["own"], tower["joined"], strict=True))
        for matrix, own, joined in layers[: 2 if mistake == "two layers" else 3]:
            vectors = layer(vectors, mean, ids, matrix, own, joined, combination, mistake)
        outputs.append(vectors)
    total = sum(outputs)
    vectors = total if mistake == "sum of towers" else total / len(outputs)
    return vectors[:user_count], vectors[user_count:], outputs


def layer(vectors, mean, ids, matrix, own, joined, combination, mistake):
    def leaky(values):
        return F.leaky_relu(values, 0.2 if mistake == "slope of 0.2" else 0.01)

    matrix = matrix.T if mistake == "transposed weights" else matrix
    if mistake == "weights after the activation":
        messages = leaky(mean @ vectors) @ matrix
    else:
        messages = leaky(mean @ (vectors @ matrix))
    linear = F.linear(vectors, *own)
    if mistake == "ids within the activation":
        itself = leaky(linear + ids)
    elif mistake == "no ids":
        itself = leaky(linear)
    else:
        itself = leaky(linear) + ids
    weight, bias = joined
    if combination == "sum":
        return leaky(F.linear(messages, weight, bias) + itself)
    if mistake == "combined by sum":
        return leaky(F.linear(messages, weight[:, : messages.shape[1]], bias) + itself)
    if mistake == "own vector before neighbours":
        return leaky(F.linear(torch.cat([itself, messages], dim=1), weight, bias))
    return leaky(F.linear(torch.cat([messages, itself], dim=1), weight, bias))


def neighbour_mean(edges, user_count, item_count, mistake=None):
    """Return the dense matrix that takes the mean over neighbours, with rows of zeros where there are none."""
    nodes = user_count + item_count
    adjacency = torch.zeros(nodes, nodes, dtype=torch.float64)
    for user, item in edges:
        adjacency[user, user_count + item] = adjacency[user_count + item, user] = 1
    if mistake == "self loops":
        adjacency += torch.eye(nodes, dtype=torch.float64)
    degrees = adjacency.sum(dim=1).clamp(min=1)
    if mistake == "sum over neighbours":
        return adjacency
    if mistake == "symmetric normalisation":
        return adjacency / (degrees.unsqueeze(1) * degrees).sqrt()
    return adjacency / degrees.unsqueeze(1)


def mmgcn_loss(ids, preferences, users, items, batch, regularisation, visual=(0,), mistake=None):
    """Return the loss of a batch, ``(users, items, others)``; ``visual`` are the modalities that are looked at."""
    readers, positive, negative = batch
    gaps = (users[readers] * (items[positive] - items[negative])).sum(dim=1)
    both = torch.cat([positive, negative])
    squares = (ids[torch.cat([readers, readers])] ** 2 + ids[len(users) + both] ** 2).mean()
    if mistake == "all rows regularised":
        squares = (ids**2).mean()
    if mistake == "preferences of all modalities regularised":
        visual = range(len(preferences))
    if mistake != "no preference term":
        squares = squares + sum((preferences[one] ** 2).mean() for one in visual)
    return -F.logsigmoid(gaps).mean() + regularisation * squares
