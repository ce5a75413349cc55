"""GRCN written slowly from its specification: dense, in float64, one edge after another.

``mistake`` names one of `MISTAKES` to make, each of which is easily made in a fast model: the golden
numbers must tell every one of them.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

MISTAKES = (
    "softmax over sources",
    "confidence of the target",
    "normalised propagation",
    "users before items in the columns only",
    "all rows regularised",
    "routing updates users",
    "least modality",
    "no relu",
    "ids not of length 1",
    "no unit rows of content",
    "one hop",
    "no own row",
    "no preference term",
    "confidence regularised",
)


def grcn(weights, features, edges, user_count, mistake=None, rounds=0):
    """Return user and item vectors and what lies between, with gradients to ``weights``.

    ``weights``: ``ids`` (users + items, d), ``confidence`` (users + items, modalities), and for each modality
    ``preference``, ``map`` and ``bias``, lists. ``edges``: pairs of user and item.
    """
    directed = [(user, user_count + item) for user, item in edges]
    directed += [(target, source) for source, target in directed]
    attention, contents = [], []
    for preference, matrix, bias, states in zip(
        weights["preference"], weights["map"], weights["bias"], features, strict=True
    ):
        mapped = F.leaky_relu(states @ matrix.T + bias)
        users, items = F.normalize(preference), F.normalize(mapped)
        if mistake == "no unit rows of content":
            users, items = preference, mapped
        for _ in range(1 if mistake == "routing updates users" else rounds):
            users = F.normalize(users + routed(users, items, edges))
        vectors = torch.cat([users, items])
        logits = torch.stack([vectors[source] @ vectors[target] for source, target in directed])
        groups = [edge[0 if mistake == "softmax over sources" else 1] for edge in directed]
        shares = softmax_within(logits, groups)
        attention.append(shares)
        own = 0 if mistake == "no own row" else vectors
        contents.append(own + sums(shares, vectors, directed))
    attention = torch.stack(attention, dim=1)
    end = 1 if mistake == "confidence of the target" else 0
    confident = attention * weights["confidence"][[edge[end] for edge in directed]]
    best = confident.min(dim=1) if mistake == "least modality" else confident.max(dim=1)
    edge_weights = best.values if mistake == "no relu" else best.values.relu()
    if mistake == "normalised propagation":
        degrees = torch.bincount(torch.tensor([source for source, _ in directed])).double()
        edge_weights = edge_weights / torch.stack(
            [(degrees[source] * degrees[target]).sqrt() for source, target in directed]
        )
    start = weights["ids"] if mistake == "ids not of length 1" else F.normalize(weights["ids"])
    first = sums(edge_weights, start, directed)
    second = 0 if mistake == "one hop" else sums(edge_weights, first, directed)
    ids = start + first + second
    users = torch.cat([part[:user_count] for part in (ids, *contents)], dim=1)
    order = (
        (*contents, ids)
        if mistake == "users before items in the columns only"
        else (ids, *contents)
    )
    items = torch.cat([part[user_count:] for part in order], dim=1)
    return (
        users,
        items,
        {"attention": attention, "edge_weight": edge_weights, "id": ids, "content": contents},
    )


def grcn_loss(weights, users, items, batch, regularisation, visual=(0,), mistake=None):
    """Return the loss of a batch, ``(users, items, others)``; ``visual`` are the modalities that are looked at."""
    readers, positive, negative = batch
    gaps = (users[readers] * (items[positive] - items[negative])).sum(dim=1)
    ranked = -F.logsigmoid(gaps).mean()
    ids, user_count = weights["ids"], len(users)
    both = torch.cat([positive, negative])
    terms = (ids[torch.cat([readers, readers])] ** 2 + ids[user_count + both] ** 2).mean()
    if mistake == "all rows regularised":
        terms = (ids**2).mean()
    if mistake == "confidence regularised":
        terms = terms + (weights["confidence"] ** 2).mean()
    if mistake != "no preference term":
        terms = terms + sum((weights["preference"][one] ** 2).mean() for one in visual)
    terms = terms + sum(
        (table[torch.cat([readers, readers])] ** 2).mean() for table in weights["preference"]
    )
    return ranked + regularisation * terms


def softmax_within(logits, groups):
    """Return the softmax of each number among those of its group."""
    groups = torch.tensor(groups)
    shares = logits.exp()
    return torch.stack(
        [share / shares[groups == group].sum() for share, group in zip(shares, groups, strict=True)]
    )


def sums(edge_weights, vectors, directed):
    """Return what comes into every node along weighted edges."""
    rows = [torch.zeros_like(vectors[0]) for _ in vectors]
    for weight, (source, target) in zip(edge_weights, directed, strict=True):
        rows[target] = rows[target] + weight * vectors[source]
    return torch.stack(rows)


def routed(users, items, edges):
    """Return what comes from items into users, as the paper's routing has it."""
    logits = torch.stack([users[user] @ items[item] for user, item in edges])
    shares = softmax_within(logits, [user for user, _ in edges])
    rows = [torch.zeros_like(users[0]) for _ in users]
    for share, (user, item) in zip(shares, edges, strict=True):
        rows[user] = rows[user] + share * items[item]
    return torch.stack(rows)
