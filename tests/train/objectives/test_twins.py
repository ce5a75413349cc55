"""Each objective over several steps against loops over users, positions and items, in float64: losses and every gradient."""

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.features import FeatureTable
from crossan.train.objectives.catalogue import CatalogueSoftmax
from crossan.train.objectives.cross_batch import CrossBatch
from crossan.train.objectives.sample import drawn_by
from crossan.train.sequences.padding import PADDING
from support.counts import of_full
from support.objective_loops import (
    ITEM_COUNT,
    LENGTH,
    SHAPES,
    WIDTH,
    catalogue_loop,
    cross_batch_loop,
    make_features,
    make_model,
    move,
    with_gradients,
)

items = st.integers(0, ITEM_COUNT - 2)  # the last is in no training part


@st.composite
def batches(draw):
    users = draw(st.lists(st.lists(items, min_size=2, max_size=LENGTH + 1), min_size=1, max_size=4))
    return [[PADDING] * (LENGTH + 1 - len(user)) + user for user in users]


def sample_beside(objective, batch):
    encoded = objective._items_to_encode(torch.tensor(batch))
    return encoded.rows[encoded.batch_count :].tolist()


@settings(max_examples=of_full(60, 15))
@given(
    st.lists(batches(), min_size=1, max_size=4), st.sampled_from(sorted(SHAPES)), st.integers(1, 3), st.integers(1, 8), st.booleans()
)  # fmt: skip
def test_the_catalogue_softmax_equals_its_loop(steps, parts, refresh_steps, sample_size, resumes):
    model, features = make_model(parts), make_features()
    training = torch.tensor([sequence for batch in steps for sequence in batch])
    trained = set(training[training != PADDING].tolist())
    objective = CatalogueSoftmax(
        training, ITEM_COUNT, refresh_steps, sample_size, torch.device("cpu")
    )
    contents = {}
    for number, batch in enumerate(steps):
        move(model, number)
        if resumes:
            state = objective.state()
            objective = CatalogueSoftmax(
                training, ITEM_COUNT, refresh_steps, sample_size, torch.device("cpu")
            )
            objective.restore(state)
        if number % refresh_steps == 0 and model.item_encoder is not None:
            every = model.item_encoder.plain(*features.gather(torch.arange(ITEM_COUNT))).detach()
            contents = dict(enumerate(every))
        fast = with_gradients(model, objective.prepare(features, torch.tensor(batch))(model))
        sample = sample_beside(objective, batch)
        assert len(sample) == min(
            sample_size, len(trained - {item for user in batch for item in user})
        )
        slow = with_gradients(
            model, catalogue_loop(model, features, batch, trained, contents, sample)
        )
        for one, other in zip(fast, slow, strict=True):
            assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


@settings(max_examples=of_full(60, 15))
@given(
    st.lists(batches(), min_size=1, max_size=4), st.sampled_from(sorted(SHAPES)), st.integers(1, 20), st.integers(1, 8), st.booleans()
)  # fmt: skip
def test_cross_batch_negatives_equal_their_loop(steps, parts, memory_size, sample_size, resumes):
    model, features = make_model(parts), make_features()
    log_p = (
        torch.rand(ITEM_COUNT, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        .add(0.1)
        .log()
    )
    objective, memory = (
        CrossBatch(log_p, memory_size, sample_size, WIDTH),
        deque(maxlen=memory_size),
    )
    for number, batch in enumerate(steps):
        move(model, number)
        if resumes:
            state = objective.state()
            objective = CrossBatch(log_p, memory_size, sample_size, WIDTH)
            objective.restore(state)
        fast = with_gradients(model, objective.prepare(features, torch.tensor(batch))(model))
        sample = drawn_by(torch.tensor(batch), len(memory), sample_size).tolist()
        slow = with_gradients(
            model, cross_batch_loop(model, features, batch, log_p, memory, sample)
        )
        for one, other in zip(fast, slow, strict=True):
            assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)
        assert objective.state()["items"].tolist() == [item for item, *_ in memory]


def zero_vectors(model):
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    return model


@pytest.mark.parametrize("parts", SHAPES)
def test_the_catalogue_softmax_by_hand(parts):
    """All scores are 0 and 0, 1, 2, 5 are trained: user 0 predicts 1 against 2 and 5, user 1 predicts 2 against 0, 1, 5."""
    training = torch.tensor([[PADDING, 0, 1], [2, 2, 2], [PADDING, PADDING, 5]])
    objective = CatalogueSoftmax(training, ITEM_COUNT, 1, 1, torch.device("cpu"))
    loss = objective.prepare(make_features(), training[:2])(zero_vectors(make_model(parts)))
    assert loss.exp().item() == pytest.approx((3 * 4 * 4) ** (1 / 3))


def test_cross_batch_negatives_by_hand():
    """All scores are 0 and p is 1/2; the second user has two predictions, and the memory three 2s of the step before."""
    model, features = zero_vectors(make_model("both")), make_features()
    objective = CrossBatch(torch.full((ITEM_COUNT,), 0.5, dtype=torch.float64).log(), 10, 2, WIDTH)
    objective.prepare(features, torch.tensor([[2, 2, 2]]))(model)
    loss = objective.prepare(features, torch.tensor([[PADDING, 0, 1], [2, 2, 4]]))(model)
    # user 0: 1 against 2, 2, 4 and the remembered three 2s: 2 / (2 + 12), user 1, twice: 2 / (2 + 2 * 2), its own 2s left out
    assert loss.exp().item() == pytest.approx((7 * 3 * 3) ** (1 / 3))


def test_a_memory_keeps_the_latest_vectors():
    model, features = make_model("ids alone"), make_features()
    objective = CrossBatch(torch.zeros(ITEM_COUNT, dtype=torch.float64), 3, 2, WIDTH)
    for batch in ([[5, 1, 1]], [[4, 0, 4]]):
        objective.prepare(features, torch.tensor(batch))(model)
    state = objective.state()
    assert state["items"].tolist() == [5, 0, 4]
    assert state["log_multiplicity"].exp().tolist() == pytest.approx([1, 1, 2])
    assert torch.equal(state["vectors"], model.id_embedding.weight[[5, 0, 4]])
    assert not state["vectors"].requires_grad


def test_the_whole_catalogue_is_encoded_at_the_stated_interval_only(monkeypatch):
    gathered = []
    plain = FeatureTable.gather
    monkeypatch.setattr(
        FeatureTable, "gather", lambda table, rows: gathered.append(len(rows)) or plain(table, rows)
    )
    batch = torch.tensor([[PADDING, 0, 1], [2, 2, 2]])
    objective = CatalogueSoftmax(batch, ITEM_COUNT, 3, 2, torch.device("cpu"))
    model, features = make_model("content"), make_features()
    for _ in range(5):
        objective.prepare(features, batch)(model)
    assert gathered == [8, 3, 3, 3, 8, 3, 3]
    assert not objective.state()["table"].requires_grad


@pytest.mark.parametrize("parts", ["content", "both"])
def test_the_sample_stands_for_the_whole_catalogue(parts, monkeypatch):
    """Over all samples of one, the mean of the gradient is that of the full softmax, nothing stale and nothing drawn."""
    batch, everyone = [[0, 1, 2, 0, 3], [PADDING, PADDING, 2, 2, 1]], torch.arange(ITEM_COUNT - 1)
    model, features, drawn = make_model(parts), make_features(), []
    move(model, 1)
    objective = CatalogueSoftmax(everyone, ITEM_COUNT, 1, 1, torch.device("cpu"))
    for first in torch.eye(3, dtype=torch.int64).argsort(dim=1, descending=True, stable=True):
        monkeypatch.setattr(torch, "randperm", lambda count, generator, order=first: order)
        drawn.append(with_gradients(model, objective.prepare(features, torch.tensor(batch))(model)))
    exact = with_gradients(
        model, catalogue_loop(model, features, batch, set(range(ITEM_COUNT - 1)), {}, [4, 5, 6])
    )
    for several, one in zip(zip(*drawn, strict=True), exact, strict=True):
        assert torch.allclose(torch.stack(several).mean(dim=0), one, rtol=1e-12, atol=1e-12)


def test_an_item_outside_training_is_nobodys_negative():
    batch = torch.tensor([[0, 1]])
    objective = CatalogueSoftmax(
        torch.tensor([0, 1, 2, PADDING]), ITEM_COUNT, 1, 1, torch.device("cpu")
    )
    model = make_model("ids alone")
    objective.prepare(FeatureTable.without_content(ITEM_COUNT), batch)(model).backward()
    has_gradient = model.id_embedding.weight.grad.any(dim=1)
    assert has_gradient.tolist() == [True, True, True, False, False, False, False, False]


@pytest.mark.parametrize("parts", sorted(SHAPES))
def test_a_temperature_divides_the_scores_of_both(parts):
    model, features = make_model(parts), make_features()
    move(model, 0)
    batch, temperature = [[PADDING, 0, 1, 2, 3], [4, 4, 5, 6, 0]], 0.25
    log_p = torch.linspace(-3, -1, ITEM_COUNT, dtype=torch.float64)
    objective = CatalogueSoftmax(
        torch.tensor(batch), ITEM_COUNT, 5, 3, torch.device("cpu"), temperature
    )
    contents = {}
    if model.item_encoder is not None:
        every = model.item_encoder.plain(*features.gather(torch.arange(ITEM_COUNT))).detach()
        contents = dict(enumerate(every))
    trained = set(range(7))
    pairs = [
        (
            objective.prepare(features, torch.tensor(batch))(model),
            catalogue_loop(model, features, batch, trained, contents, [], temperature),
        ),
        (
            CrossBatch(log_p, 9, 3, WIDTH, temperature).prepare(features, torch.tensor(batch))(
                model
            ),
            cross_batch_loop(model, features, batch, log_p, deque(), [], temperature),
        ),
    ]
    for losses in pairs:
        fast, slow = (with_gradients(model, loss) for loss in losses)
        for one, other in zip(fast, slow, strict=True):
            assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)
