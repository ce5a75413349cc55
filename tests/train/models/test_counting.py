"""The models that count: four items by hand, slow twins, and a catalogue that has grown since."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from crossan.cache_schema.errors import ConfigError, DataError, StoreIntegrityError
from crossan.common.config import load_settings
from crossan.common.datasets import SelectionSequences
from crossan.common.datasets.splitting import TRAINING, VALIDATION
from crossan.train.evaluation.ranker import CountRanker
from crossan.train.features import FeatureTable
from crossan.train.layers.item_pairs import ItemPairs, best_pairs, carry_item_pairs
from crossan.train.layers.title_terms import term_vectors
from crossan.train.models.bigram import followers
from crossan.train.models.item_knn import shared_users
from crossan.train.models.pair_model import PairModel
from crossan.train.models.recommender import ModelContext
from crossan.train.models.table import build_model
from crossan.train.sequences.flat import flat, training_parts
from crossan.train.sequences.popularity import training_counts
from crossan.train.settings import (
    BigramSettings,
    HybridSettings,
    ItemKnnSettings,
    MarkovSettings,
    RunSettings,
    TitleKnnSettings,
)
from support.counts import of_full

ITEMS = 4
PARTS = ([0, 1, 2], [0, 1], [1, 2, 3])
"""Training parts of three users."""
TITLES = ["Red shoe", "red RED hat", None, "shoe, blue"]


def context_of(parts, item_count=ITEMS):
    """Return what a model is built for; item 0 is everybody's validation target."""
    sequences = [np.array([*part, 0]) for part in parts]
    held_out = [np.array([TRAINING] * len(part) + [VALIDATION]) for part in parts]
    seen = SelectionSequences(
        np.array([f"u{user}" for user in range(len(parts))]),
        np.array([f"i{item}" for item in range(item_count)]),
        np.concatenate(sequences),
        np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])]),
        np.concatenate(held_out).astype(np.int8),
    )
    counts = training_counts(seen.training_items, item_count)
    no_features = FeatureTable.without_content(item_count)
    return ModelContext(no_features, seen, counts, 10, lambda: TITLES[:item_count])


def scores_after(model_settings, history, parts=PARTS):
    model = build_model(model_settings, context_of(parts))
    ranker = CountRanker(model, [np.array(history, dtype=np.int64)])
    scores = ranker.scores(torch.tensor([0]), slice(0, ITEMS))[0].tolist()
    one_by_one = model.base_scores().numpy()
    rows, gains = model.scores_after(np.array(history, dtype=np.int64))
    one_by_one[rows] += gains
    assert scores == one_by_one.tolist()
    return scores


def test_a_bigram_counts_what_came_right_after_the_last_item():
    assert scores_after(BigramSettings(), [3, 0]) == [0, 2, 0, 0]  # 1 after 0, twice
    assert scores_after(BigramSettings(), [1]) == [0, 0, 2, 0]
    assert scores_after(BigramSettings(), []) == [0, 0, 0, 0]


def test_a_markov_chain_adds_nearer_followers_of_nearer_items_with_more_weight():
    chain = MarkovSettings(decay=0.5, window=2, gap_decay=0.25, reach=2)
    # after 1: 2 twice and 3 one place later; after 0, half: 1 twice and 2 one place later
    assert scores_after(chain, [3, 0, 1]) == [0, 0.5 * 2, 2 + 0.5 * 0.25, 0.25]
    # the window reaches two items: what came after 0 is forgotten
    assert scores_after(chain, [0, 3, 1]) == [0, 0, 2, 0.25]


def test_item_knn_is_the_cosine_over_users():
    # 0 is had by two users, 1 by three, 2 by two, 3 by one; 0 and 1 share two of them
    expected = [0, 2 / (2 * 3) ** 0.5, 1 / (2 * 2) ** 0.5, 0]
    assert scores_after(ItemKnnSettings(), [0]) == pytest.approx(expected)
    shrunk = [0, 2 / ((2 * 3) ** 0.5 + 1), 1 / (2 + 1), 0]
    assert scores_after(ItemKnnSettings(shrinkage=1), [0, 0]) == pytest.approx(shrunk)
    assert scores_after(ItemKnnSettings(neighbours=1), [0]) == pytest.approx([0, expected[1], 0, 0])


def test_title_knn_is_the_cosine_of_tf_idf_and_nothing_without_a_title():
    # of three titles red and shoe stand in two, hat and blue in one
    common, rare = math.log(3 / 2), math.log(3)
    red_shoe, red_red_hat = 2**0.5 * common, math.hypot(2 * common, rare)
    shoe_blue = math.hypot(common, rare)
    to_hat = common * 2 * common / (red_shoe * red_red_hat)
    to_blue = common * common / (red_shoe * shoe_blue)
    assert scores_after(TitleKnnSettings(), [0]) == pytest.approx([0, to_hat, 0, to_blue])
    # the hat is two places back: it counts a quarter
    far = [to_hat / 4, 0, 0, 0]
    assert scores_after(TitleKnnSettings(), [1, 2, 2]) == pytest.approx(far)
    alone = TitleKnnSettings(neighbours=1)
    assert scores_after(alone, [0]) == pytest.approx([0, to_hat, 0, 0])
    assert scores_after(TitleKnnSettings(), [2]) == [0, 0, 0, 0]


def test_titles_may_be_compared_by_runs_of_characters():
    vectors = term_vectors(["abcd", "xbcd", "ab"], characters=3, largest_share=1.0)
    # abc, bcd; xbc, bcd; ab: bcd alone is shared
    assert (vectors @ vectors.T).toarray().nonzero()[0].tolist() == [0, 0, 1, 1, 2]


def test_without_a_title_there_is_nothing_to_compare(monkeypatch):
    monkeypatch.setattr(f"{__name__}.TITLES", [None] * ITEMS)
    for model_settings in (TitleKnnSettings(), HybridSettings()):
        with pytest.raises(DataError, match="expected titles of items.*found none for 4 items"):
            build_model(model_settings, context_of(PARTS))
    build_model(HybridSettings(title_weight=0), context_of(PARTS))


def test_the_hybrid_adds_its_parts_with_the_same_length():
    weights = {"markov_weight": 2.0, "item_knn_weight": 0.0, "title_weight": 1.0}
    chain = np.array(scores_after(MarkovSettings(), [3, 0]))
    titles = np.array(scores_after(TitleKnnSettings(), [3, 0]))
    chain[[0, 3]] = titles[[0, 3]] = 0  # what the history holds is no measure
    expected = 2 * chain / np.linalg.norm(chain) + titles / np.linalg.norm(titles)
    assert scores_after(HybridSettings(**weights), [3, 0]) == pytest.approx(expected)
    # a part that knows nothing of a history adds nothing
    assert scores_after(HybridSettings(), [2, 2]) != [0, 0, 0, 0]
    assert scores_after(HybridSettings(), []) == [0, 0, 0, 0]


def test_a_hybrid_of_nothing_is_refused():
    none = [f"model.{part}_weight=0" for part in ("markov", "item_knn", "title")]
    with pytest.raises(ConfigError, match="expected a weight above 0 for one part"):
        load_settings(
            RunSettings,
            assignments=["data.dataset=d", "model.kind=hybrid", *none],
            environment={},
        )


def test_no_held_out_item_is_counted():
    """Item 0 is the validation target of all three users, and 4 of nobody's training part."""
    table = build_model(BigramSettings(), context_of(([1, 2], [1, 2]))).pairs.table()
    assert table.toarray().tolist() == [[0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert training_parts(context_of(PARTS).seen).items.tolist() == [0, 1, 2, 0, 1, 1, 2, 3]


SEQUENCES = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=6), min_size=1, max_size=5)
DECAYS = st.sampled_from([1.0, 0.5, 0.25])


@settings(max_examples=of_full(40, 15))
@given(SEQUENCES, st.integers(1, 3), DECAYS, SEQUENCES, st.integers(1, 3), DECAYS)
def test_chains_agree_with_a_loop_over_places(parts, reach, gap_decay, histories, window, decay):
    follows = defaultdict(float)
    for part in parts:
        for at, item in enumerate(part):
            for gap, follower in enumerate(part[at + 1 : at + 1 + reach]):
                follows[item, follower] += gap_decay**gap
    slow = np.zeros((len(histories), ITEMS))
    for user, history in enumerate(histories):
        for age, item in enumerate(history[::-1][:window]):
            for other in range(ITEMS):
                slow[user, other] += decay**age * follows[item, other]
    arrays = [np.array(part, dtype=np.int64) for part in parts]
    table = followers(flat(arrays), ITEMS, reach=reach, decay=gap_decay)
    ranker = CountRanker(
        PairModel(ItemPairs(table), decay, window), [np.array(one, np.int64) for one in histories]
    )
    users = torch.arange(len(histories))
    assert np.array_equal(ranker.scores(users, slice(0, ITEMS)), slow)
    assert np.array_equal(ranker.scores(users, slice(1, 3)), slow[:, 1:3])


@settings(max_examples=of_full(40, 15))
@given(SEQUENCES, st.integers(1, 3), st.sampled_from([0.0, 2.0]))
def test_cosines_agree_with_sets_of_users(parts, neighbours, shrinkage):
    had_by = [{user for user, part in enumerate(parts) if item in part} for item in range(ITEMS)]
    slow = np.zeros((ITEMS, ITEMS))
    for item, users in enumerate(had_by):
        alike = {
            other: len(users & others) / ((len(users) * len(others)) ** 0.5 + shrinkage)
            for other, others in enumerate(had_by)
            if other != item and users & others
        }
        least = sorted(alike.values(), reverse=True)[:neighbours]
        for other, cosine in alike.items():
            slow[item, other] = cosine * (cosine >= least[-1])
    arrays = [np.array(part, dtype=np.int64) for part in parts]
    fast = shared_users(flat(arrays), ITEMS, neighbours=neighbours, shrinkage=shrinkage)
    assert np.allclose(fast.toarray(), slow)


def test_no_block_of_rows_decides_what_is_alike():
    alike = sparse.random_array((300, 300), density=0.1, rng=np.random.default_rng(0)).tocsr()
    whole = best_pairs(lambda rows: alike[rows], 300, neighbours=5)
    assert whole.shape == (300, 300)
    assert not whole.diagonal().any()
    assert (np.diff(whole.indptr) == 5).all()
    assert whole.indices[whole.indptr[299] :].tolist() == sorted(
        np.delete(np.arange(300), 299)[np.argsort(np.delete(alike[[299]].toarray()[0], 299))[-5:]]
    )


def carried(model, old, new, weights=None, old_table=None):
    weights = weights or {
        f"pairs.{part}": tensor for part, tensor in ItemPairs(old_table).state_dict().items()
    }
    moved = carry_item_pairs(model, weights, np.array(list(old)), np.array(list(new)), "run")
    model.load_state_dict(moved)
    return model.pairs.table().toarray().tolist()


def test_pairs_follow_their_items_to_a_catalogue_that_gained_and_lost_some():
    old_table = sparse.csr_array(np.array([[0, 1, 2], [3, 0, 4], [5, 6, 0]]))
    here = np.array([[0, 7, 7], [7, 0, 7], [7, 7, 0]])
    # b came, c went
    counted = PairModel(ItemPairs(sparse.csr_array(here)))
    expected = [[0, 0, 2], [0, 0, 0], [5, 0, 0]]
    assert carried(counted, "acd", "abd", old_table=old_table) == expected
    # a new item's pairs are known where they follow from content
    content = PairModel(ItemPairs(sparse.csr_array(here), follows_content=True))
    expected = [[0, 7, 2], [7, 0, 7], [5, 7, 0]]
    assert carried(content, "acd", "abd", old_table=old_table) == expected


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("begins", torch.tensor([0, 2])),
        ("begins", torch.tensor([0, 2, 1])),
        ("columns", torch.tensor([1, 2])),
        ("columns", torch.tensor([1, -1])),
        ("columns", torch.tensor([1.0, 0.0])),
        ("gains", torch.tensor([1.0, float("nan")])),
        ("gains", torch.tensor([[1.0, 2.0]])),
        ("gains", torch.tensor([1.0])),
    ],
)
def test_pairs_that_are_no_table_of_the_catalogue_are_refused(part, value):
    table = sparse.csr_array(np.array([[0.0, 1.0], [2.0, 0.0]]))
    weights = {f"pairs.{name}": one for name, one in ItemPairs(table).state_dict().items()}
    model = PairModel(ItemPairs(table))
    with pytest.raises(StoreIntegrityError, match=r"^run: expected (the|item) pairs"):
        carried(model, "ab", "ab", weights | {f"pairs.{part}": value})
