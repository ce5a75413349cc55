"""What an in-batch prediction chooses between, against loops over users, positions and occurrences."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import load_settings
from crossan.train.objectives.buckets import Bucket, BucketedBatches, bucket_of, filled
from crossan.train.objectives.candidates import rule_of
from crossan.train.objectives.shared_step import of_users
from crossan.train.objectives.step import loss_by_position, loss_of_batch
from crossan.train.sequences.padding import PADDING
from crossan.train.settings import RunSettings
from crossan.train.settings.objective import ObjectiveSettings
from support.counts import of_full
from support.small_models import (
    ITEM_COUNT,
    batches,
    loss_and_gradients,
    make_features,
    make_model,
)

TRAINED = torch.arange(ITEM_COUNT - 1)
"""The last item is in no training part but those of a batch that a test draws."""
COUNTS = torch.tensor([4.0, 3.0, 2.0, 2.0, 1.0, 1.0, 1.0], dtype=torch.float64)
LOG_P = (COUNTS / COUNTS.sum()).log()


def rule(trained=TRAINED, log_p=LOG_P, **chosen):
    return rule_of(ObjectiveSettings(**chosen), trained, log_p)


@st.composite
def choices(draw):
    return {
        "debias": draw(st.sampled_from(["all", "negatives"])),
        "uniform_negatives": draw(st.sampled_from([0, 1, 3, 50])),
        "temperature": draw(st.sampled_from([1.0, 0.5])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.2])),
    }


def transcription(model, features, sequences, drawn, chosen):
    """Every prediction for itself, every occurrence and every drawn item for itself."""
    rows = sequences.tolist()
    of_batch = [item for user in rows for item in user if item != PADDING]
    occurrences = of_batch + drawn
    vector = {
        item: model.plain_item_vectors(features, torch.tensor([item]))[0]
        for item in set(occurrences)
    }
    drawn_count = len(drawn)
    q = {
        item: (len(of_batch) * LOG_P[item].exp() + drawn_count / len(TRAINED)) / len(occurrences)
        if drawn_count
        else LOG_P[item].exp()
        for item in range(ITEM_COUNT)
    }
    terms = []
    for user in rows:
        own = [item for item in user if item != PADDING]
        inputs = torch.stack([vector[item] for item in own[:-1]]).unsqueeze(0)
        users = model.sequence_encoder(inputs, torch.ones(inputs.shape[:2], dtype=torch.bool))[0]
        negatives = [item for item in occurrences if item not in own]
        for position, wanted in enumerate(own[1:]):
            score = {
                item: users[position] @ of_item / chosen["temperature"]
                for item, of_item in vector.items()
            }
            if chosen["debias"] == "all":
                masses = {wanted: score[wanted].exp() / q[wanted]}
                weight = 1.0
            else:
                masses = {wanted: score[wanted].exp()}
                weight = (1 - sum(q[item] for item in set(own))) / max(len(negatives), 1)
            for item in negatives:
                masses[item] = masses.get(item, 0.0) + weight * score[item].exp() / q[item]
            whole = sum(masses.values())
            smoothing = chosen["label_smoothing"]
            even = sum((mass / whole).log() for mass in masses.values()) / len(masses)
            terms.append(-(1 - smoothing) * (masses[wanted] / whole).log() - smoothing * even)
    return torch.stack(terms).mean()


PARTS = [{}, {"id_embedding": True}, {"kind": "sasrec"}, {"scores": "cosine"}]


@settings(max_examples=of_full(80, 20), deadline=None)
@given(batches(), choices(), st.sampled_from(PARTS), st.integers(0, 1000))
def test_losses_and_gradients_equal_the_transcription(sequences, chosen, parts, seed):
    """By the step that trains, by its slow twin and by a batch that is filled up."""
    generator = torch.Generator().manual_seed(seed)
    features, model = make_features([3, 5], generator), make_model([3, 5], "sum", seed, **parts)
    chosen_rule = rule(**chosen)
    drawn = [] if chosen_rule is None else chosen_rule.drawn(sequences).tolist()

    def bucketed(model, features, sequences, log_p):
        whole = BucketedBatches(sequences, len(sequences), log_p, chosen_rule)
        batch = whole.filled(torch.arange(len(sequences)))
        return whole.loss_of(model, features, batch.columns)

    expected = loss_and_gradients(
        lambda model, *_: transcription(model, features, sequences, drawn, chosen), model
    )
    for loss_of in (
        lambda *batch: loss_of_batch(*batch, chosen_rule),
        lambda *batch: loss_by_position(*batch, chosen_rule),
        bucketed,
    ):
        actual = loss_and_gradients(loss_of, model, features, sequences, LOG_P)
        for one, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_the_gradient_is_that_of_the_papers_weighted_loss():
    """(1 - P) times the loss without the positive in its denominator, P without gradient."""
    scores = torch.randn(5, dtype=torch.float64, requires_grad=True)
    log_q = torch.tensor([0.2, 0.1, 0.3, 0.4], dtype=torch.float64).log()
    negatives = scores[1:] - log_q - math.log(4)
    ours = -torch.cat([scores[:1], negatives]).log_softmax(0)[0]
    share = (-ours).exp().detach()
    papers = (1 - share) * (negatives.logsumexp(0) - scores[0])
    torch.testing.assert_close(
        torch.autograd.grad(ours, scores)[0], torch.autograd.grad(papers, scores)[0]
    )


def test_a_batch_that_holds_every_item_as_often_as_training_does_is_the_full_softmax():
    """Users 0, 1 | 2, 3 | 4, 5 of six items, each as often: with five rivals of which one is own.

    Of user 0, 1 - Q(I) is 4/6 and n is 4, so an occurrence weighs (4/6) / (4 * 1/6) = 1: the
    denominator is that of the softmax over 1 and the four items of the others.
    """
    sequences = torch.tensor([[0, 1], [2, 3], [4, 5]])
    log_p = torch.full((6,), 1 / 6, dtype=torch.float64).log()
    model = make_model([], "sum", 3, kind="sasrec")
    chosen = rule(torch.arange(6), log_p, debias="negatives")
    loss = loss_of_batch(model, make_features([3], torch.Generator()), sequences, log_p, chosen)
    vectors = model.id_embedding.weight
    users = model.sequence_encoder(vectors[sequences[:, :1]], torch.ones(3, 1, dtype=torch.bool))
    terms = []
    for user, pair in zip(users[:, 0], sequences.tolist(), strict=True):
        rivals = [pair[1], *(item for item in range(6) if item not in pair)]
        terms.append(-(vectors[rivals] @ user).log_softmax(0)[0])
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-12)


def test_the_positive_alone_is_left_as_it_is_by_hand():
    """All scores are 0, p of 0, 1, 2 is 1/2, 1/4, 1/4; user 0 of 0, 1 predicts 1 against two 2s.

    n is 2 and 1 - Q(I) is 1/4: each 2 stands for (1/4) / (2 * 1/4) = 1/2 item, so the loss is
    log(1 + 1/2 + 1/2). User 1 of 2, 2 predicts 2 against one 0 and one 1: n is 2, 1 - Q(I) is 3/4,
    a 0 stands for 3/8 / (1/2) = 3/4 and a 1 for 3/8 / (1/4) = 3/2: log(1 + 3/4 + 3/2).
    """
    log_p = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log()
    model = make_model([], "sum", 0, item_count=3, kind="sasrec")
    torch.nn.init.zeros_(model.id_embedding.weight)
    features = make_features([3], torch.Generator(), item_count=3)
    sequences = torch.tensor([[0, 1], [2, 2]])
    chosen = rule(torch.arange(3), log_p, debias="negatives")
    for loss_of in (loss_of_batch, loss_by_position):
        loss = loss_of(model, features, sequences, log_p, chosen)
        assert loss.item() == pytest.approx((math.log(2) + math.log(3.25)) / 2)


def test_q_of_two_sources_by_hand():
    """Four occurrences and two draws of five trained items: (4 p + 2/5) / 6."""
    p = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.1], dtype=torch.float64)
    mixed = rule(torch.arange(5), p.log(), uniform_negatives=2)
    columns = mixed.columns(torch.tensor([[0, 1], [0, 2]]))
    expected = [(4 * p[item].item() + 2 / 5) / 6 for item in columns.items.tolist()]
    assert columns.log_q.exp().tolist() == pytest.approx(expected)
    # Every draw is one more occurrence, whether or not the batch holds the item.
    assert columns.log_multiplicity.exp().sum().item() == pytest.approx(4 + 2)
    assert columns.log_weight is None


def test_only_trained_items_are_drawn_and_the_batch_decides_which():
    trained = torch.tensor([5, 7, 11, 20])
    mixed = rule(trained, torch.zeros(30), uniform_negatives=2)
    first, again, other = (
        mixed.drawn(torch.tensor(rows)).tolist() for rows in ([[5, 7]], [[5, 7]], [[7, 5]])
    )
    assert first == again
    assert len(set(first)) == len(set(other)) == 2
    everything = rule(trained, torch.zeros(30), uniform_negatives=9)
    assert sorted(everything.drawn(torch.tensor([[5, 7]])).tolist()) == trained.tolist()
    drawn = {tuple(mixed.drawn(torch.tensor([[5, 7, n]])).tolist()) for n in range(50)}
    assert len(drawn) > 4  # of 12 ordered pairs


def test_nothing_beside_eq_7_is_no_rule():
    assert rule() is None


def test_a_user_of_all_there_is_costs_nothing():
    """Nobody else has anything: the positive is alone, whatever a negative would weigh."""
    sequences = torch.tensor([[0, 1, 2, 3, 4, 5]])
    model = make_model([], "sum", 0, kind="sasrec")
    chosen = rule(debias="negatives", uniform_negatives=3)
    batch = model, make_features([3], torch.Generator()), sequences, LOG_P, chosen
    loss, *gradients = loss_and_gradients(lambda *batch: loss_of_batch(*batch), *batch)
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients)


def test_filled_up_columns_and_predictions_keep_their_corrections():
    chosen = rule(debias="negatives", uniform_negatives=2)
    columns = chosen.columns(torch.tensor([[PADDING, 0, 1], [2, 3, 4]]))
    larger = filled(columns, Bucket(4, 16, 8)).columns
    assert torch.equal(larger.log_q[: len(columns.items)], columns.log_q)
    assert torch.equal(larger.log_weight[:3], columns.log_weight)
    assert not larger.log_weight[3:].any()
    assert bucket_of(columns, 2).columns >= len(columns.items)


def test_a_rank_has_the_weights_of_its_users():
    chosen = rule(debias="negatives", uniform_negatives=2)
    columns = chosen.columns(torch.tensor([[PADDING, 0, 1], [2, 3, 4], [1, 5, 5]]))
    share = of_users(columns, slice(1, 3))
    assert torch.equal(share.log_weight, columns.log_weight[1:])
    assert share.log_q is columns.log_q


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["objective.kind=catalogue", "objective.debias=negatives"], "kind=in-batch with debias"),
        (["objective.kind=cross-batch", "objective.uniform_negatives=3", "objective.label_smoothing=0.1"], "with uniform_negatives, label_smoothing, got cross-batch"),
        (["model.kind=vbpr", "objective.temperature=0.5"], "catalogue or cross-batch with temperature, got triples"),
        (["model.kind=sasrec", "model.scores=cosine"], "temperature below 1 with model.scores=cosine, for example 0.05, got 1"),
        (["objective.label_smoothing=1"], "label_smoothing"),
        (["objective.temperature=0"], "temperature"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(assignments, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(RunSettings, assignments=["data.dataset=d", *assignments], environment={})
