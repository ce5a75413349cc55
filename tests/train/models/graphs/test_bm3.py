"""BM3 against its own published code, a dense twin, hands, and mistakes that one could make."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given

from crossan.cache_schema.modality import Modality
from crossan.train.settings import Bm3Settings
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
    "predictor.weight": "predictor.weight",
    "predictor.bias": "predictor.bias",
}
MISTAKES = (
    "dropout after the predictor",
    "norm of the batch's rows",
    "squared norms",
    "norms over users and items, not over items",
    "item's own row forgotten",
    "no predictor in the score",
    "gradient through the second view",
    "one dropout for all views",
    "item terms once for all modalities",
)


def slow_vectors(world, settings, weights, mistake=None):
    """Return the vectors of users and items before the predictor."""
    table = torch.cat([weights["nodes.users"], weights["nodes.items"]])
    hops = mean_of_powers(normalised(world.adjacency()), table, settings.hops)
    users, items = hops[: world.user_count], hops[world.user_count :]
    if mistake == "item's own row forgotten":
        return users, items
    return users, items + weights["nodes.items"]


def predicted(weights, vectors):
    return vectors @ weights["predictor.weight"].T + weights["predictor.bias"]


def slow_scored_vectors(world, settings, weights, mistake=None):
    vectors = slow_vectors(world, settings, weights, mistake)
    if mistake == "no predictor in the score":
        return vectors
    return tuple(predicted(weights, part) for part in vectors)


def apart(first, second):
    return 1 - torch.cosine_similarity(first, second)


def slow_norm(settings, users, items, batch, mistake=None):
    """Return the term of the norms, weighted."""
    user, item = batch
    if settings.variant == "as-written":
        squares = users[user].square().sum(dim=1) + items[item].square().sum(dim=1)
        return settings.norm_weight * squares.mean()
    if mistake == "norm of the batch's rows":
        users, items, count = users[user], items[item], len(items)
    elif mistake == "norms over users and items, not over items":
        count = len(users) + len(items)
    else:
        count = len(items)
    power = 2 if mistake == "squared norms" else 1
    return settings.norm_weight * (users.norm() ** power + items.norm() ** power) / count


def slow_loss(world, settings, weights, batch, masks, mistake=None):
    """Return the loss by masks of whole tables: of users, of items, and of each modality."""
    users, items = slow_vectors(world, settings, weights, mistake)
    user, item = batch
    of_users, of_items, *of_modalities = (mask.double() for mask in masks)
    if mistake == "one dropout for all views":
        of_modalities = [of_items for _ in of_modalities]

    def second(vectors, mask):
        if mistake == "gradient through the second view":
            return vectors * mask
        if mistake == "dropout after the predictor":
            return (predicted(weights, vectors) * mask).detach()
        return (vectors * mask).detach()

    user_target, item_target = second(users, of_users)[user], second(items, of_items)[item]
    loss = apart(predicted(weights, users)[user], item_target).mean()
    loss = loss + apart(predicted(weights, items)[item], user_target).mean()
    loss = loss + slow_norm(settings, users, items, batch, mistake)
    for number, modality in enumerate(world.features):
        name = f"content.{modality.value}"
        projected = weights[f"{name}.table"] @ weights[f"{name}.projection.weight"].T
        projected = projected + weights[f"{name}.projection.bias"]
        view = predicted(weights, projected)[item]
        terms = apart(view, second(projected, of_modalities[number])[item])
        if not (mistake == "item terms once for all modalities" and number):
            terms = terms + apart(view, item_target)
        rows = [row for row in range(len(item)) if world.is_present[modality][item[row]]]
        loss = loss + settings.content_weight * terms[rows].sum() / max(len(rows), 1)
    return loss


@pytest.fixture(scope="module")
def golden():
    return Golden("bm3")


@pytest.fixture(scope="module")
def settings(golden):
    config = golden.config
    return Bm3Settings(
        width=config["embedding_size"],
        hops=config["n_layers"],
        dropout=config["dropout"],
        norm_weight=config["reg_weight"],
        content_weight=config["cl_weight"],
    )


@pytest.fixture
def model(golden, settings):
    model = build(settings, golden.world)
    golden.load(model, PUBLISHED)
    return model


def published_masks(golden, settings):
    """Return what the published run multiplied whole tables by, in our order of modalities."""
    names = ("user", "item", "text", "image")
    return [golden[f"random/dropout_keep_{name}"] / (1 - settings.dropout) for name in names]


def at_rows(masks, users, items):
    """Return the masks of a batch out of those of whole tables."""
    return [mask[rows] for mask, rows in zip(masks, (users, *[items] * 9), strict=False)]


@pytest.mark.data
def test_the_graph_is_that_of_the_published_code(model, golden):
    ours = model._graph @ torch.eye(model._graph.shape[1])
    assert torch.allclose(ours, golden["graph/norm_adj"], atol=TOLERANCE, rtol=0)


@pytest.mark.data
def test_loss_gradients_vectors_and_scores_are_those_of_the_published_code(model, golden, settings):
    users, items, _ = golden.triples
    masks = at_rows(published_masks(golden, settings), users, items)
    loss = model.loss_under(users, items, masks)
    assert loss.item() == pytest.approx(golden["loss/total"].item(), abs=TOLERANCE)
    gradients = gradients_of(loss, model)
    assert largest_difference(gradients, golden.gradients(PUBLISHED)) < TOLERANCE
    with torch.no_grad():
        trained = model.vectors()
        user_vectors, item_vectors = model.eval().propagate()
        norm = model._vectors_of(users, items)[2]
    for ours, name in (
        (user_vectors, "eval/user"),
        (item_vectors, "eval/item"),
        (user_vectors @ item_vectors.T, "eval/scores"),
        (trained[0], "train/user"),
        (trained[1], "train/item"),
    ):
        assert torch.allclose(ours, golden[name], atol=TOLERANCE, rtol=0), name
    assert norm.item() == pytest.approx(golden["loss/embedding_norm"].item(), abs=TOLERANCE)


def differences(golden, settings, mistake=None):
    """Return how far the twin is from what the golden file says of loss, gradients and vectors."""
    world, weights = golden.world, golden.weights(PUBLISHED)
    users, items, _ = golden.triples
    masks = published_masks(golden, settings)
    loss = slow_loss(world, settings, weights, (users, items), masks, mistake)
    loss.backward()
    vectors = slow_scored_vectors(world, settings, weights, mistake)
    ours = {name: weights[name].grad for name in weights}
    ours |= {"total": loss, "eval/user": vectors[0], "eval/item": vectors[1]}
    theirs = golden.gradients(PUBLISHED) | {"total": golden["loss/total"]}
    theirs |= {name: golden[name] for name in ("eval/user", "eval/item")}
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
    settings = Bm3Settings(
        width=3,
        hops=int(random.integers(0, 4)),
        dropout=0.4,
        norm_weight=float(random.choice([0.0, 0.5])),
        variant=str(random.choice(["as-published", "as-written"])),
    )
    model = build(settings, world, seed=int(random.integers(100))).double()
    weights = {
        name: parameter.detach().clone().requires_grad_()
        for name, parameter in model.named_parameters()
    }
    batches = []
    for _ in range(3):
        users, items, _others = triples_of(world, random)
        counts = (world.user_count, *[world.item_count] * (1 + len(world.features)))
        masks = [torch.from_numpy((random.random((count, 3)) < 0.6) / 0.6) for count in counts]
        batches.append(((users, items), masks))

    def loss_of(model, batch, masks):
        return model.loss_under(*batch, at_rows(masks, *batch))

    loss = loss_of(model, *batches[0])
    expected = slow_loss(world, settings, weights, *batches[0])
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    expected.backward()
    slow = {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        for name, leaf in weights.items()
    }
    assert largest_difference(gradients_of(loss, model), slow) < 1e-6
    take_steps(model, [lambda m, batch=batch: loss_of(m, *batch) for batch in batches])
    take_slow_steps(
        weights,
        [lambda w, batch=batch: slow_loss(world, settings, w, *batch) for batch in batches],
    )
    assert largest_difference(dict(model.named_parameters()), weights) < 1e-5
    vectors = slow_scored_vectors(world, settings, weights)
    for ours, theirs in zip(model.eval().propagate(), vectors, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


LINE = World(
    2,
    np.array([[0, 0], [0, 1], [1, 1], [1, 2]]),
    {Modality.TEXT: np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-0.2, 1.0]])},
)
"""Two users and four items, the last of which nobody has."""


def by_hand(**more):
    """Return a model of width 1 that doubles what it predicts, with vectors of one number."""
    model = build(Bm3Settings(width=1, hops=1, dropout=0.0, **more), LINE)
    with torch.no_grad():
        model.nodes.users.copy_(torch.tensor([[2.0], [4.0]]))
        model.nodes.items.copy_(torch.tensor([[1.0], [3.0], [5.0], [7.0]]))
        model.predictor.weight.fill_(2.0)
        model.predictor.bias.fill_(1.0)
    return model


ROOT = 2**-0.5
USERS = ((2 + 1 * ROOT + 3 / 2) / 2, (4 + 3 / 2 + 5 * ROOT) / 2)
ITEMS = ((1 + 2 * ROOT) / 2 + 1, (3 + 2 / 2 + 4 / 2) / 2 + 3, (5 + 4 * ROOT) / 2 + 5, 7 / 2 + 7)
"""The vectors of `by_hand`: half of each row and its neighbours, and of an item its row once more."""


def test_four_items_by_hand():
    with torch.no_grad():
        users, items = by_hand().propagate()
    assert users.flatten().tolist() == pytest.approx([1 + 2 * vector for vector in USERS])
    assert items.flatten().tolist() == pytest.approx([1 + 2 * vector for vector in ITEMS])


def test_the_norms_are_of_all_vectors_over_the_number_of_items():
    """All is positive, so every cosine of one number is 1, and only the norms are left."""
    model = by_hand(norm_weight=0.5, content_weight=0.0)
    loss = model.loss(torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    norms = math.hypot(*USERS) + math.hypot(*ITEMS)
    assert loss.item() == pytest.approx(0.5 * norms / 4)


def test_as_written_has_the_mean_of_the_squares_in_the_batch():
    model = by_hand(norm_weight=0.5, content_weight=0.0, variant="as-written")
    loss = model.loss(torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([2, 0]))
    squares = [USERS[0] ** 2 + ITEMS[1] ** 2, USERS[1] ** 2 + ITEMS[2] ** 2]
    assert loss.item() == pytest.approx(0.5 * sum(squares) / 2)


def test_vectors_that_are_all_zero_have_a_norm_without_a_gradient():
    model = by_hand()
    with torch.no_grad():
        model.nodes.users.zero_()
        model.nodes.items.zero_()
    gradients = gradients_of(
        model.loss(torch.tensor([0]), torch.tensor([1]), torch.tensor([2])), model
    )
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_dropout_is_that_of_a_table_where_a_row_is_there_twice():
    model = build(Bm3Settings(width=400, dropout=0.25), LINE)
    masks = model._mask(torch.tensor([0, 1, 0]))
    assert torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[0], masks[1])
    assert {round(value, 4) for value in masks.unique().tolist()} == {0.0, round(1 / 0.75, 4)}
    assert masks[:2].mean().item() == pytest.approx(1.0, abs=0.1)


def test_dropout_is_drawn_by_the_generator_that_a_checkpoint_holds():
    model = build(Bm3Settings(width=3, dropout=0.5), LINE)
    triples = torch.tensor([[0, 0, 1], [1, 1, 0]]).unbind(dim=1)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model.loss(*triples).item())
    assert losses[0] == losses[1] != losses[2]


def test_the_other_items_are_not_read():
    model = build(Bm3Settings(width=3, dropout=0.0), LINE)
    users, items = torch.tensor([0, 1]), torch.tensor([1, 2])
    first, second = (
        model.loss(users, items, torch.tensor(others)).item() for others in ([0, 0], [3, 2])
    )
    assert first == second


def test_parameters_are_those_of_the_issue_at_full_size():
    """50,000 users, 19,099 items, features of 384 and 100."""
    users, items, dims = 50_000, 19_099, (384, 100)
    content = sum(items * dim + dim * 64 + 64 for dim in dims)
    assert (users + items) * 64 + content + 64**2 + 64 == 13_701_516
    small = build(Bm3Settings(width=3), LINE)
    expected = (2 + 4) * 3 + 4 * 2 + 2 * 3 + 3 + 3 * 3 + 3
    assert sum(parameter.numel() for parameter in small.parameters()) == expected
