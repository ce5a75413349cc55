"""A hybrid's scores are the sum of its terms, and its ranks those of all weights at once."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.common.datasets.protocol import SelectionSequences
from crossan.common.datasets.splitting import TRAINING, VALIDATION
from crossan.common.split import LEAVE_LAST_OUT
from crossan.train.evaluation.best import best_items
from crossan.train.evaluation.encoding import encode_items, ranker_maker, target_ranks
from crossan.train.evaluation.hybrid_candidates import HybridTerms
from crossan.train.evaluation.user_vectors import encode_users
from crossan.train.export.hybrid import HybridUserEncoder, length_read
from crossan.train.layers.content_vectors import ContentVectors
from crossan.train.loop.content_directions import fit_content
from crossan.train.models.hybrid_of_runs import TermWeights, build
from crossan.train.models.recommender import ModelContext
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.splits import ValidationSplit, pad_left, validation_split
from crossan.train.settings import HybridOfRunsSettings
from support.small_models import make_features

ITEMS, LENGTH, USERS = 23, 5, 17
DIMS = (4, 3)
BASES = ("frozen", "sasrec")
TEMPERATURES = (1.0, 0.5)
DEFAULTS = {"decay": 0.5, "window": 10, "gap_decay": 0.8, "reach": 10}
NEARER = {"decay": 0.25, "window": 3, "gap_decay": 0.5, "reach": 2}


def make_sequences(seed):
    """Return sequences in which the last items of the catalogue are nobody's in training."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 9, USERS)
    parts = [random.integers(0, ITEMS - 4, length) for length in lengths]
    targets = random.integers(0, ITEMS, USERS)
    items = np.concatenate([[*part, target] for part, target in zip(parts, targets, strict=True)])
    kinds = np.concatenate([[TRAINING] * length + [VALIDATION] for length in lengths])
    return SelectionSequences(
        np.array([f"u{user:02d}" for user in range(USERS)]),
        np.array([f"i{item:02d}" for item in range(ITEMS)]),
        items,
        np.concatenate([[0], np.cumsum(lengths + 1)]),
        kinds,
        LEAVE_LAST_OUT,
    )


def make_hybrid(seed, content_width=256, chain=DEFAULTS):
    """Return a hybrid of two small models, its inputs and sequences."""
    torch.manual_seed(seed)
    features = make_features(DIMS, torch.Generator().manual_seed(seed), item_count=ITEMS)
    seen = make_sequences(seed)
    counts = training_counts(seen.training_items, ITEMS)
    of = [
        {
            "run": "r",
            "sha256": "0" * 64,
            "model": {"kind": kind, "width": 4, "dropout": 0.0},
            "temperature": temperature,
        }
        for kind, temperature in zip(BASES, TEMPERATURES, strict=True)
    ]
    of[0]["model"]["top_k"] = 1
    given_settings = HybridOfRunsSettings.model_validate(
        {"of": of, "content_width": content_width, **chain}
    )
    model = build(given_settings, ModelContext(features, seen, counts, LENGTH)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    fit_content(model.content, features)
    return model, features, seen, counts


def chain_one_by_one(seen, history, chain=DEFAULTS):
    """Return the decayed Markov chain's scores after a history, as their definition has them."""
    read = history[-chain["window"] :]
    followed = np.zeros((ITEMS, ITEMS))
    for part in seen.training_parts():
        for first in range(len(part)):
            for later in range(first + 1, min(first + chain["reach"] + 1, len(part))):
                followed[part[first], part[later]] += chain["gap_decay"] ** (later - first - 1)
    return sum(chain["decay"] ** age * followed[item] for age, item in enumerate(reversed(read)))


def scores_one_by_one(model, features, seen, weights, history, chain=DEFAULTS):
    """Return the scores of all items after a history, term by term."""
    rows = torch.arange(ITEMS)
    scores = np.zeros(ITEMS)
    padded = torch.full((1, LENGTH), -1)
    last = history[-LENGTH:]
    padded[0, LENGTH - len(last) :] = torch.from_numpy(last)
    for base, temperature in zip(model.base_models(), TEMPERATURES, strict=True):
        items = base.item_vectors(features, rows)
        of_base = (encode_users(base, items, padded) @ items.T)[0].numpy()
        scores += of_base / temperature / len(BASES)
    content = model.content(*features.gather(rows)).numpy()
    read = history[-chain["window"] :]
    taste = sum(chain["decay"] ** age * content[item] for age, item in enumerate(reversed(read)))
    taste /= np.linalg.norm(taste)
    followed = chain_one_by_one(seen, history, chain)
    for item in range(ITEMS):
        scores[item] += math.log(1 + weights.co_occurrence * followed[item])
        is_cold = item not in set(seen.training_items.tolist())
        cosine = float(taste @ content[item])
        scores[item] += weights.content * (1 + weights.cold_content * is_cold) * cosine
        scores[item] += weights.cold_bonus * is_cold
    return scores


@pytest.mark.parametrize(
    "weights",
    [
        TermWeights(),
        TermWeights(2.0, 4.0, 0.5),
        TermWeights(0.0, 1.0),
        TermWeights(8.0),
        TermWeights(2.0, 1.0, -1.5, 3.0),
    ],
)
@pytest.mark.parametrize("chain", [DEFAULTS, NEARER])
def test_scores_are_the_sum_of_the_terms(weights, chain):
    model, features, seen, _ = make_hybrid(3, chain=chain)
    model.take_weights(weights)
    split = validation_split(seen, LENGTH)
    ranker = ranker_maker(model, features)(split)
    assert (ranker.user_count, ranker.item_count) == (USERS, ITEMS)
    everyone = torch.arange(USERS)
    whole = ranker.scores(everyone, slice(0, ITEMS)).clone()
    for user, history in enumerate(split.histories):
        slow = scores_one_by_one(model, features, seen, weights, history, chain)
        assert np.allclose(whole[user], slow, atol=1e-4)
    some = torch.tensor([4, 2, 11])
    for items in (slice(0, 7), slice(7, 20), slice(20, ITEMS)):
        assert torch.allclose(ranker.scores(some, items), whole[some][:, items], atol=1e-5)
    rows, _ = best_items(ranker, split.histories, 4)
    for user, history in enumerate(split.histories):
        order = sorted({*range(ITEMS)} - {*history.tolist()}, key=lambda i: (-whole[user, i], i))
        assert rows[user].tolist() == order[:4]


def test_histories_that_hold_cold_items_read_their_content_as_that_of_others():
    """As the history of a test target does, whose validation item nobody had in training."""
    model, features, seen, counts = make_hybrid(3)
    weights = TermWeights(2.0, 1.0, -1.5, 3.0)
    model.take_weights(weights)
    split = validation_split(seen, LENGTH)
    cold = np.flatnonzero(counts == 0)
    histories = [
        np.append(history, cold[user % len(cold)]) for user, history in enumerate(split.histories)
    ]
    padded = pad_left(histories, LENGTH)
    later = ValidationSplit(padded, split.targets, split.users, histories)
    whole = ranker_maker(model, features)(later).scores(torch.arange(USERS), slice(0, ITEMS))
    vectors = encode_items(model, features)
    exported = HybridUserEncoder(model, LENGTH, vectors)
    products = exported(pad_left(histories, length_read(model, LENGTH)), vectors) @ vectors.T
    for user, history in enumerate(histories):
        slow = scores_one_by_one(model, features, seen, weights, history)
        assert np.allclose(whole[user], slow, atol=1e-4)
        gains = np.log1p(weights.co_occurrence * chain_one_by_one(seen, history))
        assert np.allclose(products[user].detach().numpy() + gains, slow, atol=1e-4)


def with_two_targets(split):
    """Return a split in which every user has a second target, which no history holds."""
    second = torch.tensor(
        [
            next(i for i in range(ITEMS) if i != target and i not in set(history.tolist()))
            for target, history in zip(split.targets.tolist(), split.histories, strict=True)
        ]
    )
    targets = torch.stack([split.targets, second], dim=1).flatten()
    return ValidationSplit(
        split.inputs, targets, torch.arange(USERS).repeat_interleave(2), split.histories
    )


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 5),
    mask=st.sampled_from(["all", "unseen-only", "none"]),
    has_two=st.booleans(),
    candidates=st.lists(
        st.tuples(
            *[st.sampled_from([0.0, 0.5, 1.0, 4.0])] * 2,
            st.sampled_from([0.0, -2.0, 0.5, 4.0]),
            st.sampled_from([0.0, 1.0, 7.0]),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_ranks_of_many_weights_are_those_of_a_ranker_of_each(seed, mask, has_two, candidates):
    model, features, seen, _ = make_hybrid(seed)
    split = validation_split(seen, LENGTH)
    split = with_two_targets(split) if has_two else split
    terms = HybridTerms(model, encode_items(model, features), split, mask)
    weights = [TermWeights(*one) for one in candidates]
    at_once = terms.ranks(weights, torch.arange(len(split.targets)), "weigh")
    for one, ranks in zip(weights, at_once, strict=True):
        model.take_weights(one)
        slow = target_ranks(ranker_maker(model, features)(split), split, mask)
        assert ranks.tolist() == slow.tolist()


def test_ranks_of_some_targets_are_theirs_among_all(monkeypatch):
    model, features, seen, _ = make_hybrid(1)
    split = validation_split(seen, LENGTH)
    terms = HybridTerms(model, encode_items(model, features), split, "all")
    (everyone,) = terms.ranks([TermWeights(1.0, 2.0)], torch.arange(USERS), "weigh")
    monkeypatch.setattr("crossan.train.evaluation.hybrid_candidates._SCORES_PER_BLOCK", 3 * ITEMS)
    some = torch.tensor([0, 3, 4, 9, 16])
    (ranks,) = terms.ranks([TermWeights(1.0, 2.0)], some, "weigh")
    assert ranks.tolist() == everyone[some].tolist()


def test_content_of_a_reduced_width_changes_scores_little():
    """Of 21 directions 12 are kept: cosines of the histories differ by less than a tenth."""
    whole, features, seen, _ = make_hybrid(2)
    reduced, *_ = make_hybrid(2, content_width=12)
    assert isinstance(reduced.content, ContentVectors)
    split = validation_split(seen, LENGTH)
    scores = []
    for model in (whole, reduced):
        model.load_state_dict(
            {
                name: tensor
                for name, tensor in whole.state_dict().items()
                if not name.startswith("content")
            },
            strict=False,
        )
        model.take_weights(TermWeights(content=1.0))
        ranker = ranker_maker(model, features)(split)
        scores.append(ranker.scores(torch.arange(USERS), slice(0, ITEMS)).clone())
    assert (scores[0] - scores[1]).abs().mean() < 0.1
