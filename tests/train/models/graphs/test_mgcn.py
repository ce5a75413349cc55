"""MGCN against its published code, a slow twin, arithmetic by hand, and mistakes made on purpose."""

import math

import pytest
import torch
from hypothesis import given, settings

from crossan.cache_schema.errors import ConfigError
from crossan.cache_schema.modality import Modality
from crossan.train.runs.facts import trainable_parameter_count
from crossan.train.settings import MgcnSettings
from support.counts import of_full
from support.mgcn_twin import MISTAKES, Graph, Shape, item_graph, mgcn
from support.view_worlds import (
    MODALITIES,
    TOLERANCE,
    Golden,
    build_of,
    weights_of,
    with_matrices_of,
    worlds,
)

GATES = {"image": "gate_v", "text": "gate_t"}
SHAPE = MgcnSettings(width=4, neighbours=3)
LOSSES = {
    "ranking": ("bpr", 1.0),
    "norm": ("l2", 1.0),
    "contrast of users": ("infonce_user", 0.01),
    "contrast of items": ("infonce_item", 0.01),
}
"""Our terms, which have their weights, and those of the code."""


def published_names():
    names = {
        "nodes.users": "user_embedding.weight",
        "nodes.items": "item_id_embedding.weight",
        "query.weight": "query_common.0.weight",
        "query.bias": "query_common.0.bias",
        "attend.weight": "query_common.2.weight",
    }
    for modality, gate in GATES.items():
        names[f"views.{modality}.table"] = f"{modality}_embedding.weight"
        for part in ("weight", "bias"):
            names[f"views.{modality}.project.{part}"] = f"{modality}_trs.{part}"
            names[f"views.{modality}.gate.{part}"] = f"{gate}.0.{part}"
            names[f"views.{modality}.prefer.{part}"] = f"gate_{modality}_prefer.0.{part}"
    return names


@pytest.fixture(scope="module")
def golden():
    return Golden("mgcn", MODALITIES[:2])


@pytest.mark.data
def test_losses_gradients_and_vectors_are_those_of_the_published_code(golden):
    names = published_names()
    model = golden.model(SHAPE, names)
    terms = model.loss_terms(*golden.batch)
    for ours, (theirs, weight) in LOSSES.items():
        close = 1e-7 if theirs == "l2" else TOLERANCE
        assert terms[ours].item() == pytest.approx(
            weight * golden(f"loss/{theirs}").item(), abs=close
        )
    loss = model.loss(*golden.batch)
    assert loss.item() == pytest.approx(golden("loss/total").item(), abs=TOLERANCE)
    loss.backward()
    for name, weight in model.named_parameters():
        expected = golden(f"grad/{names[name]}")
        assert torch.allclose(weight.grad, expected, rtol=0, atol=TOLERANCE), name
    users, items = model.eval().propagate()
    assert torch.allclose(users, golden("eval/user"), rtol=0, atol=TOLERANCE)
    assert torch.allclose(items, golden("eval/item"), rtol=0, atol=TOLERANCE)
    scores = users @ items.T
    assert torch.allclose(scores, golden("eval/scores"), rtol=0, atol=TOLERANCE)
    pairs = golden.graph.pairs
    scores[pairs[:, 0], pairs[:, 1]] = -1e10
    assert torch.equal(scores.topk(3).indices, golden("eval/top3_train_masked"))


@pytest.mark.data
def test_graphs_are_those_of_the_published_code(golden):
    model = golden.model(SHAPE, published_names())
    graphs = model._graphs
    for number, modality in enumerate(golden.modalities):
        ours = graphs.items[number] @ torch.eye(8)
        expected = golden(f"graph/item_adj_{modality.value}")
        assert torch.allclose(ours, expected, rtol=0, atol=TOLERANCE)
    from_items = graphs.from_items @ torch.eye(8)
    assert torch.allclose(from_items[:6], golden("graph/R"), rtol=0, atol=1e-7)
    assert torch.equal(from_items[6:], torch.eye(8))
    assert torch.allclose(graphs.nodes @ torch.eye(14), golden("graph/norm_adj"), rtol=0, atol=1e-7)


def differences(golden, mistake):
    """Return how far the twin is from every number of the published code, as shares of what is allowed."""
    names = published_names()
    weights = golden.weights(names)
    shape = Shape(neighbours=3, batch_size=8, mistake=mistake)
    answer = mgcn(weights, golden.graph, shape, golden.batch)
    answer.losses["total"].backward()
    pairs = {f"loss/{name}": (loss, golden(f"loss/{name}")) for name, loss in answer.losses.items()}
    for name, weight in weights.items():
        gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
        pairs[f"gradient of {name}"] = (gradient, golden(f"grad/{names[name]}"))
    pairs |= {
        "users": (answer.users, golden("eval/user")),
        "items": (answer.items, golden("eval/item")),
    }
    pairs |= {name: (answer.parts[name], golden(f"train/{name}")) for name in ("content", "side")}
    return {
        name: (one - other).abs().max().item() / (1e-7 if name == "loss/l2" else TOLERANCE)
        for name, (one, other) in pairs.items()
    }


@pytest.mark.data
def test_the_twin_is_the_published_code(golden):
    assert max(differences(golden, "").values()) < 1


@pytest.mark.data
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_noticed(golden, mistake):
    assert max(differences(golden, mistake).values()) > 2


@pytest.mark.parametrize("variant", ["as-published", "as-written"])
@settings(max_examples=of_full(100, 10), deadline=None)
@given(world=worlds())
def test_the_fast_way_is_the_slow_one(variant, world):
    graph, batches = world
    chosen = MgcnSettings(
        width=3, neighbours=3, variant=variant, norm_weight=0.1, contrast_weight=0.5
    )
    torch.manual_seed(0)
    model = build_of(graph, chosen, batch_size=4).double()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    weights, slow_graph = weights_of(model), with_matrices_of(model, graph)
    shape = Shape(
        neighbours=3, batch_size=4, norm_weight=0.1, contrast_weight=0.5,
        is_as_written=variant == "as-written",
    )  # fmt: skip
    for batch in batches:
        fast, slow = model.loss(*batch), mgcn(weights, slow_graph, shape, batch)
        assert fast.item() == pytest.approx(slow.losses["total"].item(), rel=1e-7)
        model.zero_grad()
        fast.backward()
        gradients = torch.autograd.grad(
            slow.losses["total"], list(weights.values()), allow_unused=True
        )
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            ours = model.get_parameter(name)
            expected = torch.zeros_like(weight) if gradient is None else gradient
            assert torch.allclose(ours.grad, expected, rtol=1e-6, atol=1e-8), name
            ours.data.sub_(ours.grad)
            weight.data.sub_(expected)
    users, items = model.eval().propagate()
    slow = mgcn(weights, slow_graph, shape)
    assert torch.allclose(users, slow.users, rtol=0, atol=1e-8)
    assert torch.allclose(items, slow.items, rtol=0, atol=1e-8)


def by_hand(variant="as-published"):
    """Two users and four items, the last one cold; all gates are a half, and each item is its own graph."""
    pairs = torch.tensor([[0, 0], [0, 1], [1, 1], [1, 2], [1, 2]])
    features = {"audio": torch.tensor([[1.0], [2.0], [3.0], [4.0]])}
    chosen = MgcnSettings(width=1, neighbours=1, hops=1, variant=variant)
    model = build_of(Graph(2, 4, pairs, features), chosen, batch_size=2)
    root = math.sqrt(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.nodes.users.copy_(torch.tensor([[1.0], [3.0]]))
        model.nodes.items.copy_(torch.tensor([[2 * root], [4.0], [6 * root], [5.0]]))
    return model


def test_a_graph_of_four_items_by_hand():
    users, items = by_hand().propagate()
    root = math.sqrt(2)
    # Degrees are 2 and 2, and 1, 2, 1 and 0: the edges weigh 1 / root 2, 1/2, 1/2 and 1 / root 2.
    of_users = [2.0 + 2.0, 2.0 + 6.0]
    of_items = [1 / root, (1 + 3) / 2, 3 / root, 0.0]
    # Half of a node and its neighbours, and half the view, which is half the items.
    expected = [(1 + of_users[0]) / 2 + of_users[0] / 4, (3 + of_users[1]) / 2 + of_users[1] / 4]
    assert users.flatten().tolist() == pytest.approx(expected)
    free = [2 * root, 4.0, 6 * root, 5.0]
    expected = [(own + near) / 2 + own / 4 for own, near in zip(free, of_items, strict=True)]
    assert items.flatten().tolist() == pytest.approx(expected)


def test_as_written_each_vector_is_compared_with_all_nodes():
    """All vectors of width 1 point one way: the loss is the logarithm of how many there are."""
    batch = (torch.tensor([0]), torch.tensor([1]), torch.tensor([3]))
    published, written = by_hand().loss_terms(*batch), by_hand("as-written").loss_terms(*batch)
    for name, count in (("contrast of users", 2), ("contrast of items", 4)):
        assert published[name].item() == pytest.approx(0.0, abs=1e-7)
        assert written[name].item() == pytest.approx(0.01 * math.log(count))
    for name in ("ranking", "norm"):
        assert written[name].item() == pytest.approx(published[name].item())


def parameter_count(users, items, dims, width=64):
    """Return the number of weights by the formula of the specification."""
    views = sum(items * dim + dim * width + width + 2 * (width**2 + width) for dim in dims)
    return (users + items) * width + views + width**2 + 2 * width


@pytest.mark.parametrize("dims", [(3,), (2, 4), (2, 3, 4)])
def test_the_parameters_are_those_of_the_formula(dims):
    features = {one.value: torch.rand(5, dim) for one, dim in zip(Modality, dims, strict=False)}
    graph = Graph(3, 5, torch.tensor([[0, 0], [1, 2]]), features)
    chosen = MgcnSettings(width=4, neighbours=2)
    model = build_of(graph, chosen, batch_size=8)
    assert trainable_parameter_count(model) == parameter_count(3, 5, dims, width=4)


def test_the_formula_is_the_published_count():
    assert parameter_count(50_000, 19_099, (384, 100)) == 13_718_220


def test_neighbours_that_are_not_alike_are_refused():
    features = {"text": torch.tensor([[1.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]])}
    graph = Graph(2, 3, torch.tensor([[0, 0], [1, 1]]), features)
    chosen = MgcnSettings(width=2, neighbours=3)
    with pytest.raises(ConfigError, match=r"found 1 of 3 items whose .* first that of row 0"):
        build_of(graph, chosen, batch_size=2)
    # Of themselves, all items are fond.
    few = MgcnSettings(width=2, neighbours=1)
    build_of(graph, few, batch_size=2).propagate()


def test_the_slow_item_graph_by_hand():
    """Cosines of [1, 0], [3, 4] and [0, 1]: 0.6, 0 and 0.8; two of each are kept."""
    graph = item_graph(torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 1.0]]), torch.ones(3).bool(), 2)
    first, second, third = 1 + 0.6, 1 + 0.8, 1 + 0.8
    expected = [
        [1 / first, 0.6 / math.sqrt(first * second), 0],
        [0, 1 / second, 0.8 / math.sqrt(second * third)],
        [0, 0.8 / math.sqrt(third * second), 1 / third],
    ]
    for row, numbers in zip(graph.tolist(), expected, strict=True):
        assert row == pytest.approx(numbers)
