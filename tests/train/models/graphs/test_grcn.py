"""GRCN against numbers of its published code, a slow twin of its specification, and answers by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import load_settings
from crossan.train.layers.edges import Edges
from crossan.train.models.grcn import Grcn
from crossan.train.settings import RunSettings
from crossan.train.settings.graphs import GrcnSettings
from support.beside_data import folder_beside_data
from support.twin_grcn import MISTAKES, grcn, grcn_loss

CLOSE = 5e-6
"""To what the code computed in float32."""
TOWERS = ("t_gcn", "v_gcn")
"""Of the published code, in our order of modalities; there the image comes first."""


def golden():
    with np.load(folder_beside_data("golden", "grcn") / "golden.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def make(content, pairs, user_count, *, is_visual=None, **given):
    settings = GrcnSettings(**given)
    edges = Edges.both_ways(*torch.tensor(pairs).reshape(-1, 2).T, user_count, len(content[0]))
    is_visual = [False] * len(content) if is_visual is None else is_visual
    return Grcn(content, edges, user_count, settings, is_visual)


def published(model, towers=TOWERS):
    """Return each parameter's name with the published name of what it is a part of, and where it lies there."""
    users = len(model.user_ids)
    names = {
        "user_ids": ("id_gcn.id_embedding", slice(None, users)),
        "item_ids": ("id_gcn.id_embedding", slice(users, None)),
        "user_confidence": ("model_specific_conf", slice(None, users)),
        "item_confidence": ("model_specific_conf", slice(users, None)),
    }
    for number, tower in enumerate(towers):
        names[f"preferences.{number}"] = (f"{tower}.preference", slice(None))
        names[f"maps.{number}.weight"] = (f"{tower}.MLP.weight", slice(None))
        names[f"maps.{number}.bias"] = (f"{tower}.MLP.bias", slice(None))
    return names


def in_our_order(name, table):
    """Return a published table with its columns as ours: of confidence text and then image, of vectors alike."""
    if name == "model_specific_conf":
        return table.flip(1)
    if name.startswith("eval"):
        ids, image, text = table.split(4, dim=1)
        return torch.cat([ids, text, image], dim=1)
    return table


def published_model(arrays):
    content = [arrays["feature/text"], arrays["feature/image"]]
    pairs = arrays["data/train_pairs"].tolist()
    model = make(
        content, pairs, 6, width=4, content_width=4, norm_weight=0.01, is_visual=[False, True]
    )
    with torch.no_grad():
        for name, (theirs, rows) in published(model).items():
            table = in_our_order(theirs, arrays[f"weight/{theirs}"])
            model.get_parameter(name).copy_(table[rows])
    return model


@pytest.mark.data
def test_loss_and_gradients_are_those_of_the_published_code():
    arrays = golden()
    model = published_model(arrays)
    loss = model.loss(*(arrays[f"batch/{one}"] for one in ("users", "pos", "neg")))
    assert abs(loss.item() - arrays["loss/total"].item()) < CLOSE
    loss.backward()
    for name, (theirs, rows) in published(model).items():
        expected = in_our_order(theirs, arrays[f"grad/{theirs}"])[rows]
        assert expected.abs().max() > 1e-5
        assert torch.allclose(model.get_parameter(name).grad, expected, rtol=0, atol=CLOSE), name


@pytest.mark.data
def test_vectors_and_scores_are_those_of_the_published_code():
    arrays = golden()
    with torch.no_grad():
        users, items = published_model(arrays).propagate()
    for name, ours in (("eval/user", users), ("eval/item", items)):
        assert torch.allclose(ours, in_our_order(name, arrays[name]), rtol=0, atol=CLOSE)
    assert torch.allclose(users @ items.T, arrays["eval/scores"], rtol=0, atol=CLOSE)


@pytest.mark.data
def test_the_weights_of_edges_are_those_of_the_published_code():
    arrays = golden()
    model = published_model(arrays)
    with torch.no_grad():
        attentions, weights = model._edge_weights(model._tables())
    edges = model._edges
    ours = list(zip(edges.sources.tolist(), edges.targets.tolist(), strict=True))
    forth = arrays["graph/edge_index_user_to_item"]
    theirs = torch.cat([forth, forth.flip(0)], dim=1).T.tolist()
    assert sorted(ours) == sorted((source, target) for source, target in theirs)
    order = [ours.index((source, target)) for source, target in theirs]
    attention = torch.stack(attentions[::-1], dim=1)[order]
    assert torch.allclose(attention, arrays["train/attention"], rtol=0, atol=CLOSE)
    assert torch.allclose(weights[order], arrays["train/edge_weight"], rtol=0, atol=CLOSE)


def weights_of(model):
    """Return the parameters in float64 as the twin takes them."""
    double = {
        name: one.detach().double().requires_grad_() for name, one in model.named_parameters()
    }
    numbers = range(len(model.preferences))
    return double, {
        "ids": torch.cat([double["user_ids"], double["item_ids"]]),
        "confidence": torch.cat([double["user_confidence"], double["item_confidence"]]),
        "preference": [double[f"preferences.{number}"] for number in numbers],
        "map": [double[f"maps.{number}.weight"] for number in numbers],
        "bias": [double[f"maps.{number}.bias"] for number in numbers],
    }


def twin(model, content, pairs, batch, rounds, visual, mistake=None):
    """Return what the twin says of a model: vectors, loss, and gradients by the names of parameters."""
    double, weights = weights_of(model)
    states = [one.double() for one in content]
    users, items, _ = grcn(weights, states, pairs, len(model.user_ids), mistake, rounds)
    loss = grcn_loss(weights, users, items, batch, model._norm_weight, visual, mistake)
    gradients = torch.autograd.grad(loss, list(double.values()), allow_unused=True)
    return users, items, loss, dict(zip(double, gradients, strict=True))


def greatest_difference(model, expected):
    """Return by how much a model whose loss was differentiated differs from what a twin says."""
    users, items, loss, gradients, batch = expected
    with torch.no_grad():
        our_users, our_items = model.propagate()
        differences = [our_users - users, our_items - items, model.loss(*batch) - loss]
    for name, parameter in model.named_parameters():
        ours = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        differences.append(ours if gradients[name] is None else ours - gradients[name])
    return max(one.abs().max().item() for one in differences)


@pytest.mark.data
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_published_numbers_tell_every_mistake(mistake):
    arrays = golden()
    model = published_model(arrays)
    batch = tuple(arrays[f"batch/{one}"] for one in ("users", "pos", "neg"))
    model.loss(*batch).backward()
    content = [arrays["feature/text"], arrays["feature/image"]]
    pairs = arrays["data/train_pairs"].tolist()
    right, wrong = (
        greatest_difference(model, (*twin(model, content, pairs, batch, 0, (1,), made), batch))
        for made in (None, mistake)
    )
    assert right < CLOSE
    assert wrong > 100 * CLOSE


def scale_of(expected):
    """Return the greatest number that a twin gives, or 1: what is rounded goes by it."""
    tensors = [*expected[:2], *expected[3].values()]
    return max(1.0, *(one.abs().max().item() for one in tensors if one is not None))


@st.composite
def worlds(draw):
    """Draw users, items, pairs and triples of a small world, with cold ones and pairs that are there twice."""
    user_count, item_count = draw(st.integers(1, 5)), draw(st.integers(2, 6))
    pair = st.tuples(st.integers(0, user_count - 1), st.integers(0, item_count - 1))
    pairs = draw(st.lists(pair, min_size=1, max_size=12))
    others = st.integers(0, item_count - 1)
    triples = draw(st.lists(st.tuples(st.sampled_from(pairs), others), min_size=1, max_size=5))
    return {
        "user_count": user_count,
        "item_count": item_count,
        "pairs": pairs,
        "triples": [(user, item, other) for (user, item), other in triples],
        "dims": draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)),
        "rounds": draw(st.integers(0, 2)),
        "seed": draw(st.integers(0, 2**16)),
    }


@settings(max_examples=25, deadline=None)
@given(worlds())
def test_it_equals_its_slow_twin_over_several_steps(world):
    torch.manual_seed(world["seed"])
    # In float64: where a vector has hardly any length, what float32 rounds becomes large.
    content = [torch.randn(world["item_count"], dim).double() for dim in world["dims"]]
    routed = {"variant": "as-written", "routing_rounds": world["rounds"]} if world["rounds"] else {}
    model = make(
        content,
        world["pairs"],
        world["user_count"],
        is_visual=[number == 0 for number in range(len(content))],
        width=3,
        content_width=2,
        norm_weight=0.3,
        **routed,
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    batch = torch.tensor(world["triples"]).unbind(dim=1)
    pairs = sorted(set(world["pairs"]))
    for _ in range(2):
        model.zero_grad()
        model.loss(*batch).backward()
        expected = twin(model, content, pairs, batch, world["rounds"], (0,))
        scale = scale_of(expected)
        assert greatest_difference(model, (*expected, batch)) < 1e-9 * scale
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad


def four_items():
    """Users 0 and 1 with items 0 and 1, and 1 and 2; nobody has the last one. Vectors of width 1 and 2."""
    content = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2.0]])
    model = make([content], [(0, 0), (0, 1), (1, 1), (1, 2)], 2, width=1, content_width=2)
    with torch.no_grad():
        model.user_ids.copy_(torch.tensor([[2.0], [-3.0]]))
        model.item_ids.copy_(torch.tensor([[1.0], [4.0], [-1.0], [0.5]]))
        model.user_confidence.copy_(torch.tensor([[0.5], [-1.0]]))
        model.item_confidence.copy_(torch.tensor([[2.0], [1.0], [-4.0], [9.0]]))
        model.preferences[0].copy_(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        model.maps[0].weight.copy_(torch.eye(2))
        model.maps[0].bias.zero_()
    return model


def test_a_graph_of_four_items_by_hand():
    """Vectors that are alike have the product 1 and others 0: of two edges one has the weight sigma(1)."""
    alike = 1 / (1 + math.exp(-1))
    other = 1 - alike
    users, items = four_items().propagate()
    # Into user 0: 2 alike from item 0, other from item 1; into items 0 and 1 from user 0 a half and other / 2;
    # nothing from user 1 and item 2, whose confidence is negative, and alike from item 1 into user 1.
    first = {"u0": 2 * alike + other, "u1": alike, "i0": 0.5, "i1": other / 2}
    expected_users = [
        [1 + first["u0"] + 2 * alike * first["i0"] + other * first["i1"], 1 + alike, other],
        [-1 + first["u1"] + alike * first["i1"], other, 1 + alike],
    ]
    expected_items = [
        [1 + first["i0"] + 0.5 * first["u0"], 2, 0],
        [1 + first["i1"] + other / 2 * first["u0"], other, 1 + alike],
        [-1, 1, 1],
        [1, 0, 1],
    ]
    assert torch.allclose(users, torch.tensor(expected_users), atol=1e-6)
    assert torch.allclose(items, torch.tensor(expected_items), atol=1e-6)


def test_as_written_a_preference_moves_towards_the_items_of_its_user():
    """(1, 0) with one item (0, 1): half a right angle, and then half of what is left."""
    given = {"width": 1, "content_width": 2, "variant": "as-written", "routing_rounds": 2}
    model = make([torch.tensor([[0.0, 1.0], [5.0, 0.0]])], [(0, 0)], 1, **given)
    with torch.no_grad():
        model.preferences[0].copy_(torch.tensor([[7.0, 0.0]]))
        model.maps[0].weight.copy_(torch.eye(2))
        model.maps[0].bias.zero_()
        users, items = model.propagate()
    cosine, sine = math.cos(math.radians(67.5)), math.sin(math.radians(67.5))
    assert users[0, 1:].tolist() == pytest.approx([cosine, sine + 1])
    assert items[0, 1:].tolist() == pytest.approx([cosine, sine + 1])
    assert items[1, 1:].tolist() == pytest.approx([1.0, 0.0])


def test_parameters_at_full_size():
    """Of the published code, with hidden states of 384 and 100 numbers."""
    none = torch.zeros(0, dtype=torch.int64)
    edges = Edges.both_ways(none, none, 50_000, 19_099)
    with torch.device("meta"):
        content = [torch.empty(19_099, dim) for dim in (384, 100)]
        model = Grcn(content, edges, 50_000, GrcnSettings(), [False, True])
    assert sum(one.numel() for one in model.parameters()) == 10_991_638


def settings_with(*assignments):
    given = ["data.dataset=d", "model.kind=grcn", *assignments]
    return load_settings(RunSettings, assignments=given, environment={}).model


def test_rounds_of_routing_belong_to_the_paper_alone():
    assert settings_with().rounds == 0
    assert settings_with("model.variant=as-written").rounds == 3
    assert settings_with("model.variant=as-written", "model.routing_rounds=1").rounds == 1
    with pytest.raises(ConfigError, match="no routing_rounds with variant=as-published"):
        settings_with("model.routing_rounds=1")
