"""The step that trains against its slow twin: the loss and every gradient of the whole model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.features import FeatureTable
from crossan.train.objectives.step import loss_by_position, loss_of_batch
from crossan.train.sequences.padding import PADDING
from support.counts import of_full
from support.small_models import ITEM_COUNT, batches, loss_and_gradients, make_features, make_model


@settings(max_examples=of_full(60, 25))
@given(
    batches(),
    st.lists(st.integers(3, 5), min_size=1, max_size=4),
    st.sampled_from(["sum", "concat"]),
    st.sampled_from([{}, {"id_embedding": True}, {"kind": "frozen"}, {"kind": "sasrec"}]),
    st.integers(0, 1000),
)
def test_the_loss_and_all_gradients_equal_the_slow_twins(sequences, dims, combine, parts, seed):
    generator = torch.Generator().manual_seed(seed)
    features, model = make_features(dims, generator), make_model(dims, combine, seed, **parts)
    log_popularity = torch.rand(ITEM_COUNT, generator=generator).add(0.01).log()
    batch = (features, sequences, log_popularity)
    fast, slow = (
        loss_and_gradients(loss_of, model, *batch) for loss_of in (loss_of_batch, loss_by_position)
    )
    for one, other in zip(fast, slow, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


def test_the_slow_twin_agrees_with_two_users_by_hand():
    """All vectors are 0 and p is 1/2: user 0 predicts 1 against three 2s, user 1 predicts 2 against 0 and 1."""
    model = make_model([3], "sum", seed=0)
    for parameter in model.item_encoder.parameters():
        torch.nn.init.zeros_(parameter)
    features = make_features([3], torch.Generator().manual_seed(0), share_present=1.0)
    log_popularity = torch.full((ITEM_COUNT,), 0.5).log()
    loss = loss_by_position(
        model, features, torch.tensor([[PADDING, 0, 1], [2, 2, 2]]), log_popularity
    )
    # user 0: 2 / (2 + 3 * 2); user 1, twice: 2 / (2 + 2 * 2)
    assert loss.item() == pytest.approx(
        (torch.tensor(4.0).log() + 2 * torch.tensor(3.0).log()).item() / 3
    )


def test_each_item_is_gathered_once(monkeypatch):
    gathered = []
    plain = FeatureTable.gather  # what is fetched is gathered by it, too
    monkeypatch.setattr(
        FeatureTable,
        "gather",
        lambda table, rows: gathered.append(rows.tolist()) or plain(table, rows),
    )
    model = make_model([3, 3], "sum", seed=0)
    features = make_features([3, 3], torch.Generator().manual_seed(0))
    sequences = torch.tensor([[PADDING, 4, 2], [2, 2, 5]])
    loss_of_batch(model, features, sequences, torch.zeros(ITEM_COUNT))
    loss_by_position(model, features, sequences, torch.zeros(ITEM_COUNT))
    assert gathered == [
        [2, 4, 5],
        [0, 4, 2, 2, 2, 5],
    ]  # its slow twin: every position, padding as row 0


def test_a_batch_in_which_nobody_predicts_costs_nothing_either_way():
    model = make_model([3], "sum", seed=0)
    features = make_features([3], torch.Generator().manual_seed(0))
    batch = (
        features,
        torch.tensor([[PADDING, PADDING, 3], [PADDING, PADDING, 1]]),
        torch.zeros(ITEM_COUNT),
    )
    for loss_of in (loss_of_batch, loss_by_position):
        loss, *gradients = loss_and_gradients(loss_of, model, *batch)
        assert loss == 0
        assert not any(gradient.any() for gradient in gradients)
