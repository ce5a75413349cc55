"""MMGCN against numbers of its published code, a slow twin of its specification, and answers by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.layers.graph import adjacency
from crossan.train.models.mmgcn import Mmgcn, NeighbourMeans
from crossan.train.settings.graphs import MmgcnSettings
from support.beside_data import folder_beside_data
from support.twin_mmgcn import MISTAKES, mmgcn, mmgcn_loss

CLOSE = 5e-6
"""To what the code computed in float32."""
TOWERS = ("t_gcn", "v_gcn")
"""Of the published code, in our order of modalities."""
COMBINATIONS = {"concat": "mmgcn", "sum": "mmgcn_elementwise"}
TABLES = ("user_ids", "item_ids", "towers.0.preference", "towers.1.preference")


def golden(combination):
    folder = folder_beside_data("golden", COMBINATIONS[combination])
    with np.load(folder / "golden.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def make(content, pairs, user_count, is_visual, **given):
    users, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    matrix = adjacency(users, items, user_count, len(content[0]))
    means = NeighbourMeans(matrix, torch.device("cpu"))
    return Mmgcn(content, means, MmgcnSettings(**given), is_visual)


def published(model):
    """Return the published name of what each tensor is a part of, and where it lies there."""
    users = len(model.user_ids)
    names = {
        "user_ids": ("id_embedding", slice(None, users)),
        "item_ids": ("id_embedding", slice(users, None)),
    }
    for name in model.state_dict():
        if name.startswith("towers."):
            _, number, part, *rest = name.split(".")
            if part == "weights":
                theirs = f"conv_embed_{int(rest[0]) + 1}.weight"
            elif part == "own":
                theirs = f"linear_layer{int(rest[0]) + 1}.{rest[1]}"
            elif part == "joined":
                theirs = f"g_layer{int(rest[0]) + 1}.{rest[1]}"
            else:
                theirs = {"map": "MLP"}.get(part, part) + "".join(f".{one}" for one in rest)
            names[name] = (f"{TOWERS[int(number)]}.{theirs}", slice(None))
    return names


def published_model(arrays, combination, variant="as-published"):
    content = [arrays["feature/text"], arrays["feature/image"]]
    model = make(
        content,
        arrays["data/train_pairs"].tolist(),
        6,
        [False, True],
        width=4,
        norm_weight=0.01,
        combination=combination,
        variant=variant,
    )
    state = model.state_dict()
    for name, (theirs, rows) in published(model).items():
        state[name] = arrays[f"weight/{theirs}"][rows]
    model.load_state_dict(state)
    return model


def batch_of(arrays):
    return tuple(arrays[f"batch/{one}"] for one in ("users", "pos", "neg"))


@pytest.mark.data
@pytest.mark.parametrize("variant", ["as-published", "as-written"])
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_loss_and_gradients_are_those_of_the_published_code(combination, variant):
    """That code has the gradients of its tables too, which it does not follow and as-written does."""
    arrays = golden(combination)
    model = published_model(arrays, combination, variant)
    loss = model.loss(*batch_of(arrays))
    assert abs(loss.item() - arrays["loss/total"].item()) < CLOSE
    loss.backward()
    learned = dict(model.named_parameters())
    assert [name for name in TABLES if name in learned] == (
        list(TABLES) if variant == "as-written" else []
    )
    for name, parameter in learned.items():
        theirs, rows = published(model)[name]
        expected = arrays[f"grad/{theirs}"][rows]
        assert expected.abs().max() > 1e-4
        assert torch.allclose(parameter.grad, expected, rtol=0, atol=CLOSE), name


@pytest.mark.data
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_vectors_and_scores_are_those_of_the_published_code(combination):
    arrays = golden(combination)
    model = published_model(arrays, combination)
    with torch.no_grad():
        users, items = model.propagate()
        ids = torch.cat([model.user_ids, model.item_ids])
        text, image = (tower(ids, None) for tower in model.towers)
    for ours, name in (
        (users, "eval/user"),
        (items, "eval/item"),
        (users @ items.T, "eval/scores"),
        (text, "train/text_tower"),
        (image, "train/image_tower"),
    ):
        assert torch.allclose(ours, arrays[name], rtol=0, atol=CLOSE), name


@pytest.mark.data
def test_the_mean_over_neighbours_is_that_of_the_published_code():
    arrays = golden("concat")
    model = published_model(arrays, "concat")
    mean = model.towers[0]._means.of_nodes @ torch.eye(14)
    assert torch.allclose(mean, arrays["graph/mean_adj"], rtol=0, atol=1e-7)


def twin(model, content, pairs, batch, combination, is_visual, mistake=None):
    """Return what the twin says: vectors, loss, and gradients by the names of tensors."""
    double = {
        name: one.detach().double().clone().requires_grad_()
        for name, one in model.state_dict().items()
    }

    def linear(name):
        return double[f"{name}.weight"], double[f"{name}.bias"]

    numbers = range(len(content))
    towers = [
        {
            "preference": double[f"towers.{one}.preference"],
            "map": linear(f"towers.{one}.map") if is_visual[one] else None,
            "weights": [double[f"towers.{one}.weights.{layer}"] for layer in range(3)],
            "own": [linear(f"towers.{one}.own.{layer}") for layer in range(3)],
            "joined": [linear(f"towers.{one}.joined.{layer}") for layer in range(3)],
        }
        for one in numbers
    ]
    ids = torch.cat([double["user_ids"], double["item_ids"]])
    users, items, _ = mmgcn(
        ids,
        towers,
        [one.double() for one in content],
        pairs,
        len(model.user_ids),
        combination=combination,
        mistake=mistake,
    )
    visual = [one for one in numbers if is_visual[one]]
    preferences = [tower["preference"] for tower in towers]
    loss = mmgcn_loss(ids, preferences, users, items, batch, model._norm_weight, visual, mistake)
    gradients = torch.autograd.grad(loss, list(double.values()), allow_unused=True)
    return users, items, loss, dict(zip(double, gradients, strict=True))


def greatest_difference(model, expected, batch):
    """Return by how much a model whose loss was differentiated differs from what a twin says."""
    users, items, loss, gradients = expected
    with torch.no_grad():
        our_users, our_items = model.propagate()
        differences = [our_users - users, our_items - items, model.loss(*batch) - loss]
    for name, parameter in model.named_parameters():
        theirs = 0 if gradients[name] is None else gradients[name]
        differences.append(parameter.grad - theirs)
    return max(one.abs().max().item() for one in differences)


@pytest.mark.data
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_published_numbers_tell_every_mistake(mistake):
    arrays = golden("concat")
    model, batch = published_model(arrays, "concat"), batch_of(arrays)
    model.loss(*batch).backward()
    given = ([arrays["feature/text"], arrays["feature/image"]], arrays["data/train_pairs"].tolist())
    right, wrong = (
        greatest_difference(model, twin(model, *given, batch, "concat", [False, True], one), batch)
        for one in (None, mistake)
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
    dims = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    return {
        "user_count": user_count,
        "item_count": item_count,
        "pairs": pairs,
        "triples": [(user, item, other) for (user, item), other in triples],
        "dims": dims,
        "is_visual": draw(st.lists(st.booleans(), min_size=len(dims), max_size=len(dims))),
        "variant": draw(st.sampled_from(["as-published", "as-written"])),
        "combination": draw(st.sampled_from(list(COMBINATIONS))),
        "seed": draw(st.integers(0, 2**16)),
    }


@settings(max_examples=25, deadline=None)
@given(worlds())
def test_it_equals_its_slow_twin_over_several_steps(world):
    torch.manual_seed(world["seed"])
    # In float64: where a vector has hardly any length, what float32 rounds becomes large.
    content = [torch.randn(world["item_count"], dim).double() for dim in world["dims"]]
    model = make(
        content,
        world["pairs"],
        world["user_count"],
        world["is_visual"],
        width=3,
        visual_width=5,
        norm_weight=0.3,
        variant=world["variant"],
        combination=world["combination"],
    ).double()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.normal_()
    batch = torch.tensor(world["triples"]).unbind(dim=1)
    pairs = sorted(set(world["pairs"]))
    given = (content, pairs, batch, world["combination"], world["is_visual"])
    for _ in range(2):
        model.zero_grad()
        model.loss(*batch).backward()
        expected = twin(model, *given)
        scale = scale_of(expected)
        assert greatest_difference(model, expected, batch) < 1e-6 * scale
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad / scale


def test_a_graph_of_four_items_by_hand():
    """Users 0 and 1 with items 0 and 1, and 1 and 2; nobody has the last one. All vectors are of width 1."""
    content = torch.tensor([[3.0], [-2.0], [5.0], [4.0]])
    model = make([content], [(0, 0), (0, 1), (1, 1), (1, 2)], 2, [False], width=1)
    tower = model.towers[0]
    with torch.no_grad():
        model.user_ids.copy_(torch.tensor([[1.0], [2.0]]))
        model.item_ids.copy_(torch.tensor([[0.5], [0.0], [-1.0], [0.25]]))
        tower.preference.copy_(torch.tensor([[2.0], [-1.0]]))
        # Messages doubled and the node's own vector; then messages alone; then the own one alone.
        for layer, (weight, own, joined) in enumerate(
            [(2.0, 1.0, (1.0, 1.0)), (1.0, 0.0, (1.0, 0.0)), (1.0, 1.0, (0.0, 1.0))]
        ):
            tower.weights[layer].fill_(weight)
            tower.own[layer].weight.fill_(own)
            tower.own[layer].bias.zero_()
            tower.joined[layer].weight.copy_(torch.tensor([joined]))
            tower.joined[layer].bias.zero_()
        users, items = model.propagate()
    # The first layer starts with signs: users 1 and -1, items 1, -1, 1 and 1. Means of users are 0 and 0, of items
    # 1, 0, -1 and nothing.
    first_users = [0 + 1 + 1, 0 - 0.01 + 2]
    first_items = [2 + 1 + 0.5, 0.01 * (0 - 0.01), 0.01 * (-0.02 + 1 - 1), 0 + 1 + 0.25]
    means = [(first_items[0] + first_items[1]) / 2, (first_items[1] + first_items[2]) / 2]
    second_users = [means[0], 0.01 * 0.01 * means[1]]
    second_items = [first_users[0], sum(first_users) / 2, first_users[1], 0]
    expected_users = [second_users[0] + 1, 0.01 * second_users[1] + 2]
    expected_items = [second_items[0] + 0.5, second_items[1], second_items[2] - 1, 0.25]
    assert users.flatten().tolist() == pytest.approx(expected_users)
    assert items.flatten().tolist() == pytest.approx(expected_items)


def small(variant, seed):
    torch.manual_seed(seed)
    content = [torch.arange(12.0).reshape(4, 3)]
    return make(content, [(0, 0), (0, 1), (1, 1), (1, 2)], 2, [False], variant=variant, width=4)


def test_as_written_learns_its_tables_and_as_published_keeps_them():
    tables = {"user_ids", "item_ids", "towers.0.preference"}
    batch = torch.tensor([[0, 0, 2], [1, 2, 0]]).unbind(dim=1)
    for variant, learned in (("as-published", set()), ("as-written", tables)):
        model = small(variant, 1)
        before = {name: model.state_dict()[name].clone() for name in tables}
        names = {id(one): name for name, one in model.named_parameters()}
        moved = {names[id(one)] for one in model.parameter_groups().rest}
        assert moved == set(names.values())
        assert moved & tables == learned
        model.loss(*batch).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
        after = model.state_dict()
        assert {name for name in tables if not torch.equal(after[name], before[name])} == learned


def test_tables_that_are_not_learned_come_from_the_checkpoint():
    """Also those that a model has made its constants of."""
    first, second = small("as-published", 1), small("as-published", 2)
    expected, other = first.propagate(), second.propagate()
    assert not torch.allclose(expected[0], other[0])
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(*pair) for pair in zip(expected, second.propagate(), strict=True))


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, 395_264),
        # Each layer joins without the part of a node's own vector.
        ({"combination": "sum"}, 395_264 - 2 * 3 * 64 * 64),
        ({"variant": "as-written"}, 395_264 + 69_099 * 64 + 50_000 * (384 + 256)),
    ],
)
def test_parameters_at_full_size(given, count):
    """Of the published code, with hidden states of 384 numbers and visual ones of 100."""
    means = NeighbourMeans(
        adjacency(np.zeros(0, int), np.zeros(0, int), 50_000, 19_099), torch.device("cpu")
    )
    with torch.device("meta"):
        content = [torch.empty(19_099, dim) for dim in (384, 100)]
        model = Mmgcn(content, means, MmgcnSettings(**given), [False, True])
    assert sum(one.numel() for one in model.parameters()) == count
