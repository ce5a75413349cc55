"""FREEDOM against its own published code, a dense twin, hands, and mistakes that one could make."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from hypothesis import given

from crossan.cache_schema.modality import Modality
from crossan.train.layers.training_pairs import TrainingPairs
from crossan.train.models.freedom import item_matrix
from crossan.train.settings import FreedomSettings
from support.graph_worlds import (
    TOLERANCE,
    Golden,
    World,
    build,
    gradients_of,
    largest_difference,
    mean_of_powers,
    normalised,
    take_slow_steps,
    take_steps,
    triples_of,
    worlds,
)

PUBLISHED = {
    "nodes.users": "user_embedding.weight",
    "nodes.items": "item_id_embedding.weight",
    "content.image.table": "image_embedding.weight",
    "content.image.projection.weight": "image_trs.weight",
    "content.image.projection.bias": "image_trs.bias",
    "content.text.table": "text_embedding.weight",
    "content.text.projection.weight": "text_trs.weight",
    "content.text.projection.bias": "text_trs.bias",
}
MISTAKES = (
    "pruned pairs normalised by the degrees before",
    "neighbours weighted by their cosines",
    "item graph symmetrised",
    "an item is no neighbour of itself",
    "item graph over propagated vectors",
    "modality terms do not reach the user",
    "weights of the modalities swapped",
    "sum of hops, not their mean",
    "modality terms by the mean over both",
    "all pairs in the steps",
)


def slow_item_matrix(world, settings, mistake=None):
    """Return the frozen graph of items, dense float64."""
    items, modalities = world.item_count, list(world.features)
    total, weight_sums = torch.zeros(items, items, dtype=torch.float64), torch.zeros(items, 1)
    for modality, states in world.features.items():
        is_image = modality is Modality.IMAGE
        if Modality.IMAGE not in modalities or len(modalities) == 1:
            weight = 1 / len(modalities)
        else:
            rest = (1 - settings.image_weight) / (len(modalities) - 1)
            weight = settings.image_weight if is_image else rest
        if mistake == "weights of the modalities swapped":
            weight = 1 - weight
        present = np.flatnonzero(world.is_present[modality])
        matrix = torch.zeros(items, items, dtype=torch.float64)
        for item in present:
            vectors = torch.from_numpy(states[present]).double()
            own = torch.from_numpy(states[item]).double()
            cosines = torch.cosine_similarity(own.unsqueeze(0), vectors)
            order = cosines.argsort(descending=True)
            if mistake == "an item is no neighbour of itself":
                order = order[1:]
            nearest = order[: settings.neighbours]
            values = torch.full((len(nearest),), 1 / max(len(nearest), 1)).double()
            if mistake == "neighbours weighted by their cosines":
                values = cosines[nearest] / len(nearest)
            matrix[item, torch.from_numpy(present)[nearest]] = values
        if mistake == "item graph symmetrised":
            matrix = (matrix + matrix.T) / 2
        if settings.variant == "as-written":
            edges = ((matrix + matrix.T) > 0).double()
            roots = edges.sum(dim=1).clamp(min=1) ** -0.5
            matrix = roots.unsqueeze(1) * edges * roots
        is_present = torch.from_numpy(world.is_present[modality]).double().unsqueeze(1)
        total += weight * is_present * matrix
        weight_sums = weight_sums + weight * is_present
    return total / weight_sums.clamp(min=1e-300)


def slow_graph(world, kept=None, mistake=None):
    """Return the normalised graph of some of a world's pairs, dense."""
    adjacency = world.adjacency()
    if kept is None or mistake == "all pairs in the steps":
        return normalised(adjacency)
    pruned = torch.zeros_like(adjacency)
    pruned[tuple(torch.from_numpy(kept).T)] = 1.0
    if mistake == "pruned pairs normalised by the degrees before":
        users = len(pruned)
        whole = normalised(adjacency)
        whole[:users, users:] *= pruned
        whole[users:, :users] *= pruned.T
        return whole
    return normalised(pruned)


def slow_vectors(world, settings, weights, graph, mistake=None):
    """Return the vectors of users and items over a dense graph."""
    table = torch.cat([weights["nodes.users"], weights["nodes.items"]])
    hops = mean_of_powers(graph, table, settings.hops)
    if mistake == "sum of hops, not their mean":
        hops = hops * (settings.hops + 1)
    users, items = hops[: world.user_count], hops[world.user_count :]
    matrix = slow_item_matrix(world, settings, mistake)
    neighbours = weights["nodes.items"]
    if mistake == "item graph over propagated vectors":
        neighbours = items
    for _ in range(settings.item_hops):
        neighbours = matrix @ neighbours
    return users, items + neighbours


def ranking_loss(users, positive, negative):
    return -F.logsigmoid((users * positive).sum(dim=1) - (users * negative).sum(dim=1))


def slow_losses(world, settings, weights, graph, triples, mistake=None):
    """Return the ranking loss, and that of each modality without its weight, by name."""
    users, items = slow_vectors(world, settings, weights, graph, mistake)
    user, positive, negative = triples
    losses = {"bpr": ranking_loss(users[user], items[positive], items[negative]).mean()}
    user_vectors = users[user]
    if mistake == "modality terms do not reach the user":
        user_vectors = user_vectors.detach()
    for modality, states in world.features.items():
        name, is_present = f"content.{modality.value}", world.is_present[modality]
        table = weights.get(f"{name}.table", torch.from_numpy(np.nan_to_num(states)))
        projected = table @ weights[f"{name}.projection.weight"].T
        projected = projected + weights[f"{name}.projection.bias"]
        every = ranking_loss(user_vectors, projected[positive], projected[negative])
        counts = [
            row
            for row in range(len(user))
            if is_present[positive[row]] and is_present[negative[row]]
        ]
        losses[modality.value] = every[counts].sum() / max(len(counts), 1)
    return losses


def slow_loss(world, settings, weights, graph, triples, mistake=None):
    losses = slow_losses(world, settings, weights, graph, triples, mistake)
    content = sum(loss for name, loss in losses.items() if name != "bpr")
    if mistake == "modality terms by the mean over both":
        content = content / 2
    return losses["bpr"] + settings.content_weight * content


@pytest.fixture(scope="module")
def golden():
    return Golden("freedom")


@pytest.fixture(scope="module")
def settings(golden):
    config = golden.config
    return FreedomSettings(
        width=config["embedding_size"],
        hops=config["n_ui_layers"],
        item_hops=config["n_mm_layers"],
        neighbours=config["knn_k"],
        image_weight=config["mm_image_weight"],
        pruned_share=config["dropout"],
        content_weight=config["reg_weight"],
    )


@pytest.fixture
def model(golden, settings):
    model = build(settings, golden.world)
    golden.load(model, PUBLISHED)
    return model


def kept_pairs(golden):
    """Return the pairs of the golden epoch, ``(kept, 2)``."""
    edges = golden["graph/edge_index"][:, golden["random/kept_edges"]]
    return edges.T.numpy()


def keep(model, pairs):
    """Have a model propagate over the graph of some pairs."""
    ours = list(zip(model._pairs.users.tolist(), model._pairs.items.tolist(), strict=True))
    model.keep_pairs(np.array([ours.index(tuple(pair)) for pair in pairs.tolist()], dtype=int))


def dense(matrix):
    return matrix @ torch.eye(matrix.shape[1])


@pytest.mark.data
def test_the_graphs_are_those_of_the_published_code(model, golden):
    ours = [golden["graph/norm_adj"], golden["graph/item_adj"], golden["graph/masked_adj"]]
    keep(model, kept_pairs(golden))
    for expected, matrix in zip(ours, (model._whole, model._item_graph, model._drawn), strict=True):
        assert torch.allclose(dense(matrix), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.data
def test_each_modality_has_the_item_graph_of_the_published_code(golden, settings):
    for name in ("image", "text"):
        states = golden[f"feature/{name}"]
        matrix = item_matrix(
            [states], torch.ones(8, 1, dtype=torch.bool), [1.0], 3, is_symmetric=False
        )
        expected = golden[f"graph/item_adj_{name}"]
        assert torch.allclose(
            torch.from_numpy(matrix.toarray()).float(), expected, atol=TOLERANCE, rtol=0
        )


@pytest.mark.data
def test_pairs_are_drawn_by_the_weights_of_the_published_code(model, golden):
    pairs = list(zip(model._pairs.users.tolist(), model._pairs.items.tolist(), strict=True))
    order = [pairs.index(tuple(pair)) for pair in golden["graph/edge_index"].T.tolist()]
    ours = torch.from_numpy(model._pairs.weights()[order])
    theirs = golden["graph/edge_sampling_weight"].double()
    assert torch.allclose(ours / ours.sum(), theirs / theirs.sum(), atol=1e-7)


@pytest.mark.data
def test_loss_gradients_vectors_and_scores_are_those_of_the_published_code(model, golden, settings):
    keep(model, kept_pairs(golden))
    loss = model.loss(*golden.triples)
    assert loss.item() == pytest.approx(golden["loss/total"].item(), abs=TOLERANCE)
    gradients = gradients_of(loss, model)
    assert largest_difference(gradients, golden.gradients(PUBLISHED)) < TOLERANCE
    with torch.no_grad():
        users, items = model.eval().propagate()
        trained = model._vectors_over(model._drawn)
    for ours, name in (
        (users, "eval/user"),
        (items, "eval/item"),
        (users @ items.T, "eval/scores"),
        (trained[0], "train/user"),
        (trained[1], "train/item"),
    ):
        assert torch.allclose(ours, golden[name], atol=TOLERANCE, rtol=0), name


def differences(golden, settings, mistake=None):
    """Return how far the twin is from what the golden file says of losses, gradients and vectors."""
    world, weights = golden.world, golden.weights(PUBLISHED)
    graph = slow_graph(world, kept_pairs(golden), mistake)
    loss = slow_loss(world, settings, weights, graph, golden.triples, mistake)
    loss.backward()
    whole = slow_graph(world)
    vectors = slow_vectors(world, settings, weights, whole, mistake)
    losses = slow_losses(world, settings, weights, graph, golden.triples, mistake)
    ours = {name: weights[name].grad for name in weights}
    ours |= {"total": loss, "eval/user": vectors[0], "eval/item": vectors[1]}
    theirs = golden.gradients(PUBLISHED)
    theirs |= {name: golden[name] for name in ("eval/user", "eval/item")}
    theirs["total"] = golden["loss/total"]
    ours |= {name: losses[name] for name in ("bpr", "image", "text")}
    theirs |= {"bpr": golden["loss/bpr"]}
    theirs |= {name: golden[f"loss/{name}_bpr"] for name in ("image", "text")}
    return largest_difference(ours, theirs)


@pytest.mark.data
def test_the_twin_is_the_published_code(golden, settings):
    assert differences(golden, settings) < TOLERANCE


@pytest.mark.data
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_does_not_go_unseen(golden, settings, mistake):
    assert differences(golden, settings, mistake) > 10 * TOLERANCE


@given(worlds())
def test_loss_gradients_and_steps_are_those_of_a_dense_twin(drawn):
    world, random = drawn
    settings = FreedomSettings(
        width=3,
        hops=int(random.integers(0, 4)),
        item_hops=int(random.integers(1, 3)),
        neighbours=int(random.integers(1, 4)),
        content_weight=float(random.choice([0.0, 0.5])),
        pruned_share=float(random.choice([0.0, 0.4])),
        variant=str(random.choice(["as-published", "as-written"])),
    )
    model = build(settings, world, seed=int(random.integers(100))).double()
    weights = {
        name: parameter.detach().clone().requires_grad_()
        for name, parameter in model.named_parameters()
    }
    batches = [triples_of(world, random) for _ in range(3)]
    model.begin_epoch(1)
    kept = None
    if settings.pruned_share:
        drawn_graph = dense(model._drawn)[: world.user_count, world.user_count :]
        kept = drawn_graph.nonzero().numpy()
        assert len(kept) == int(model._pairs.count * (1.0 - settings.pruned_share))
    graph = slow_graph(world, kept)
    loss = model.loss(*batches[0])
    expected = slow_loss(world, settings, weights, graph, batches[0])
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    expected.backward()
    slow = {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        for name, leaf in weights.items()
    }
    assert largest_difference(gradients_of(loss, model), slow) < 1e-6
    take_steps(model, [lambda m, batch=batch: m.loss(*batch) for batch in batches])
    take_slow_steps(
        weights,
        [lambda w, batch=batch: slow_loss(world, settings, w, graph, batch) for batch in batches],
    )
    assert largest_difference(dict(model.named_parameters()), weights) < 1e-5
    vectors = slow_vectors(world, settings, weights, slow_graph(world))
    for ours, theirs in zip(model.eval().propagate(), vectors, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


LINE = World(
    2,
    np.array([[0, 0], [0, 1], [1, 1], [1, 2]]),
    {Modality.TEXT: np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-0.2, 1.0]])},
)
"""Two users and four items, of which 0 and 1 are alike, and 2 and 3; nobody has item 3."""


def test_four_items_by_hand():
    """Degrees are 2 and 2, and 1, 2, 1 and 0; hops 1, item graph the mean over both of a pair."""
    model = build(FreedomSettings(width=1, hops=1, neighbours=2), LINE)
    with torch.no_grad():
        model.nodes.users.copy_(torch.tensor([[2.0], [4.0]]))
        model.nodes.items.copy_(torch.tensor([[1.0], [3.0], [5.0], [7.0]]))
        users, items = model.propagate()
    root = 2**-0.5
    assert users.flatten().tolist() == pytest.approx(
        [(2 + 1 * root + 3 / 2) / 2, (4 + 3 / 2 + 5 * root) / 2]
    )
    hops = [(1 + 2 * root) / 2, (3 + 2 / 2 + 4 / 2) / 2, (5 + 4 * root) / 2, 7 / 2]
    means = [(1 + 3) / 2, (1 + 3) / 2, (5 + 7) / 2, (5 + 7) / 2]
    assert items.flatten().tolist() == pytest.approx(
        [hop + mean for hop, mean in zip(hops, means, strict=True)]
    )


def test_as_written_has_neighbours_both_ways_and_frozen_features():
    """Items 1 and 2 are nearest to item 0, but item 0 to neither; degrees are 3, 2 and 2."""
    states = np.array([[1.0, 0.0], [0.9, 0.3], [0.9, -0.3]])
    world = World(1, np.array([[0, 0]]), {Modality.TEXT: states})
    settings = FreedomSettings(width=1, hops=0, neighbours=2, variant="as-written")
    model = build(settings, world)
    matrix = dense(model._item_graph)
    assert matrix[1].tolist() == pytest.approx([6**-0.5, 1 / 2, 0])
    assert matrix[2].tolist() == pytest.approx([6**-0.5, 0, 1 / 2])
    assert matrix[0].tolist() == pytest.approx([1 / 3, 6**-0.5, 6**-0.5])
    assert {name for name, _ in model.named_parameters()} == {
        "nodes.users", "nodes.items", "content.text.projection.weight", "content.text.projection.bias",
    }  # fmt: skip
    assert model.item_rows() == ("nodes.items",)


def test_an_item_that_lacks_a_modality_shares_its_weight_among_the_others():
    states = torch.tensor([[1.0], [1.0]])
    presence = torch.tensor([[True, True], [False, True]])
    matrix = item_matrix([states, states], presence, [0.1, 0.9], 1, is_symmetric=False)
    assert matrix.toarray().tolist() == [[pytest.approx(1.0), 0.0], [0.0, pytest.approx(1.0)]]


def test_pairs_are_drawn_without_replacement_by_their_weights():
    """Of three pairs, two of which share an item, one is drawn: 1/sqrt(2) each, and 1."""
    pairs = TrainingPairs(np.array([0, 1, 2]), np.array([0, 0, 1]), 3, 2)
    random = np.random.default_rng(0)
    draws = [pairs.draw(1, random)[0] for _ in range(4_000)]
    shares = np.bincount(draws, minlength=3) / len(draws)
    weights = np.array([2**-0.5, 2**-0.5, 1.0])
    assert shares == pytest.approx(weights / weights.sum(), abs=0.03)
    two = [tuple(pairs.draw(2, random)) for _ in range(4_000)]
    first = weights / weights.sum()
    expected = first[0] * first[1] / (1 - first[0]) + first[1] * first[0] / (1 - first[1])
    assert two.count((0, 1)) / len(two) == pytest.approx(expected, abs=0.03)


def test_each_epoch_draws_pairs_of_its_own_that_follow_from_the_seed():
    settings = FreedomSettings(width=2, neighbours=2, pruned_share=0.5)
    pairs = np.array([(user, item) for user in range(9) for item in range(4)])
    world = World(9, pairs, LINE.features)
    model, again, other = (build(settings, world, seed=seed) for seed in (1, 1, 2))
    graphs = []
    for epoch in (1, 2):
        for one in (model, again, other):
            one.begin_epoch(epoch)
        assert torch.equal(dense(model._drawn), dense(again._drawn))
        assert not torch.equal(dense(model._drawn), dense(other._drawn))
        graphs.append(dense(model._drawn))
    assert not torch.equal(*graphs)
    model.begin_epoch(1)
    assert torch.equal(dense(model._drawn), graphs[0])


def test_parameters_are_those_of_the_issue_at_full_size():
    """50,000 users, 19,099 items, features of 384 and 100."""
    users, items, dims = 50_000, 19_099, (384, 100)
    formula = (users + items) * 64 + sum(items * dim + dim * 64 + 64 for dim in dims)
    assert formula == 13_697_356
    small = build(FreedomSettings(width=3, neighbours=1), LINE)
    expected = (2 + 4) * 3 + 4 * 2 + 2 * 3 + 3
    assert sum(parameter.numel() for parameter in small.parameters()) == expected
