"""Batches filled up to buckets: the loss and every gradient of the batch itself."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.layers.packing import Packing
from crossan.train.objectives.buckets import Bucket, BucketedBatches, bucket_of, filled
from crossan.train.objectives.candidates import rule_of
from crossan.train.objectives.columns import BatchColumns, batch_columns
from crossan.train.objectives.loss import debiased_cross_entropy
from crossan.train.objectives.step import loss_of_batch
from crossan.train.sequences.padding import PADDING
from crossan.train.settings.objective import ObjectiveSettings
from support.counts import of_full
from support.small_models import (
    ITEM_COUNT,
    batches,
    loss_and_gradients,
    make_features,
    make_model,
)

LOG_P = torch.log(torch.arange(1.0, ITEM_COUNT + 1, dtype=torch.float64) / 40)
RULE = rule_of(
    ObjectiveSettings(debias="negatives", uniform_negatives=2), torch.arange(ITEM_COUNT), LOG_P
)
"""With it every tensor of a batch is there."""


def columns_of_counts(columns, predictions):
    """Columns of which nothing is right but how many there are."""
    packing = Packing.of(torch.zeros(0, 5, dtype=torch.bool))
    empty, many = torch.zeros(0, 5), torch.zeros(predictions)
    return BatchColumns(torch.zeros(columns), empty, packing, many, many, empty)


@pytest.mark.parametrize(
    ("columns", "predictions", "bucket"),
    [
        # Between 512 and 1,024 a rung is an eighth of 512 for columns, a fourth for predictions.
        (700, 780, Bucket(128, 704, 896)),
        (704, 896, Bucket(128, 704, 896)),
        (705, 897, Bucket(128, 768, 1024)),
        # The lowest rungs are 8 apart, and none is empty.
        (1, 0, Bucket(128, 8, 8)),
        (65, 17, Bucket(128, 72, 24)),
    ],
)
def test_a_bucket_is_the_next_rung(columns, predictions, bucket):
    assert bucket_of(columns_of_counts(columns, predictions), 128) == bucket


@given(st.integers(64, 10**6), st.integers(32, 10**6))
def test_an_eighth_of_the_columns_and_a_fourth_of_the_predictions_is_filled_in(
    columns, predictions
):
    bucket = bucket_of(columns_of_counts(columns, predictions), 1)
    assert columns <= bucket.columns < columns * (1 + 1 / 8)
    assert predictions <= bucket.predictions < predictions * (1 + 1 / 4)


def test_every_tensor_of_a_batch_is_filled_up():
    """One that `filled` does not know of would be None, or as long as before."""
    columns = RULE.columns(torch.tensor([[PADDING, 0, 1], [2, 3, 4]]))
    columns = replace(columns, share=torch.tensor([0.5], dtype=torch.float64))
    larger = filled(columns, Bucket(5, 16, 24)).columns
    lengths = {
        field.name: len(getattr(larger, field.name))
        for field in fields(BatchColumns)
        if field.name != "packing"
    }
    assert lengths == {
        "items": 16, "log_multiplicity": 16, "log_q": 16, "log_weight": 24,
        "inputs": 24, "positive": 24, "user_items": 24, "counts": 24, "share": 1,
    }  # fmt: skip
    assert {field.name: len(getattr(larger.packing, field.name)) for field in fields(Packing)[:3]} == {
        "is_real": 5, "places": 24, "rows": 5 * 2,
    }  # fmt: skip
    assert larger.counts.sum() == len(columns.positive) == 3
    assert larger.share.tolist() == [0.5]


def test_a_batch_that_is_too_large_is_refused():
    columns = batch_columns(torch.tensor([[0, 1, 2]]))
    with pytest.raises(ValueError, match="expected at most 2 items in this bucket, got 3"):
        filled(columns, Bucket(1, 2, 8))


MODELS = {
    "sum": {"combine": "sum"},
    "concat": {"combine": "concat"},
    "ids too": {"combine": "sum", "id_embedding": True},
    "ids alone": {"combine": "sum", "kind": "sasrec"},
    "frozen": {"combine": "sum", "kind": "frozen"},
}


@pytest.mark.parametrize("parts", MODELS)
@settings(max_examples=of_full(60, 12), deadline=None)
@given(data=st.data())
def test_loss_and_gradients_are_those_of_the_batch(parts, data):
    sequences, seed = data.draw(batches()), data.draw(st.integers(0, 9))
    features = make_features([3, 5], torch.Generator().manual_seed(seed))
    model = make_model([3, 5], seed=seed, **MODELS[parts])
    columns = batch_columns(sequences)
    least = bucket_of(columns, len(sequences))
    bucket = Bucket(
        least.users + data.draw(st.integers(0, 3)),
        least.columns + data.draw(st.integers(0, 9)),
        least.predictions + data.draw(st.integers(0, 9)),
    )

    def loss_of_bucket(model, features, sequences, log_popularity):
        bucketed = BucketedBatches(sequences, len(sequences), log_popularity)
        larger = filled(batch_columns(sequences), bucket).columns
        return bucketed.loss_of(model, features, larger)

    plain, bucketed = (
        loss_and_gradients(loss_of, model, features, sequences, LOG_P)
        for loss_of in (loss_of_batch, loss_of_bucket)
    )
    for expected, actual in zip(plain, bucketed, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=of_full(100, 20), deadline=None)
@given(batches(), st.integers(0, 9))
def test_nothing_flows_to_what_was_filled_in(sequences, seed):
    """Exactly nothing, whatever lies in a user vector where nothing is predicted."""
    generator = torch.Generator().manual_seed(seed)
    columns = batch_columns(sequences)
    bucket = Bucket(len(sequences), len(columns.items) + 5, len(columns.positive) + 3)
    larger = filled(columns, bucket).columns
    users = torch.randn(len(larger.positive), 4, generator=generator)
    users[len(columns.positive) :] = float("nan")
    items = torch.randn(len(larger.items), 4, generator=generator)
    users.requires_grad_()
    items.requires_grad_()
    loss = debiased_cross_entropy(
        users,
        items,
        larger.positive,
        larger.user_items,
        LOG_P[larger.items],
        larger.log_multiplicity,
        larger.counts,
    )
    grad_users, grad_items = torch.autograd.grad(loss, (users, items))
    assert loss.isfinite()
    assert grad_users.isfinite().all()
    assert not grad_users[len(columns.positive) :].any()
    assert not grad_items[len(columns.items) :].any()


@given(batches(), st.integers(0, 40), st.booleans())
@settings(max_examples=of_full(100, 20), deadline=None)
def test_a_batch_in_one_piece_comes_out_as_it_was(sequences, more, has_rule):
    columns = RULE.columns(sequences) if has_rule else batch_columns(sequences)
    bucket = bucket_of(columns, len(sequences) + more)
    batch = filled(columns, bucket)
    assert batch.bucket == bucket
    # Elsewhere the same bytes are the same batch, and every tensor lies in the one piece.
    elsewhere = batch.piece.clone()
    copy = batch.columns_in(elsewhere)
    for name, other in named(batch.columns).items():
        one = named(copy)[name]
        assert torch.equal(one, other), name
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.untyped_storage()._cdata == elsewhere.untyped_storage()._cdata
        assert other.untyped_storage()._cdata == batch.piece.untyped_storage()._cdata
        given = named(columns).get(name)
        if given is not None:
            assert torch.equal(other[: len(given)], given), name


def named(columns):
    """The tensors of a batch by their names, those of its packing among them."""
    parts = {field.name: getattr(columns, field.name) for field in fields(BatchColumns)}
    packing = parts.pop("packing")
    parts = {name: part for name, part in parts.items() if part is not None}
    return parts | {field.name: getattr(packing, field.name) for field in fields(Packing)[:3]}


def test_the_last_users_of_an_epoch_fill_the_bucket_of_the_others():
    sequences = torch.tensor([[0, 1], [2, 3], [4, 5]])
    bucketed = BucketedBatches(sequences, 2, LOG_P)
    full, last = (bucketed.filled(torch.tensor(users)) for users in ([0, 1], [2]))
    assert full.bucket == last.bucket == Bucket(2, 8, 8)
    assert full.columns.packing.is_real.tolist() == [[True], [True]]
    assert last.columns.packing.is_real.tolist() == [[True], [False]]
    # A dataset of fewer users than a batch has no use for more rows than it has users.
    assert BucketedBatches(sequences, 9, LOG_P).filled(torch.arange(3)).bucket.users == 3
