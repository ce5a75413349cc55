"""Several targets of one user: ranked in one list and measured by it, against slow or hand-worked answers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.evaluation.metrics import CUTOFFS, UNREACHABLE, hr_at, mrr_at, ndcg_at, summarise
from crossan.train.evaluation.ranker import CountRanker, VectorRanker
from crossan.train.evaluation.ranking import fewest_candidates, ranks_by_counting
from crossan.train.evaluation.slices import slice_metrics
from crossan.train.models.popularity import Popularity
from support.score_blocks import blocks_of

ITEMS = 9


def rank(ranker, targets, histories, mask_history):
    """Return a list of ranks for each user."""
    users = [user for user, own in enumerate(targets) for _ in own]
    flat = [item for own in targets for item in own]
    ranks = ranks_by_counting(
        ranker, torch.tensor(flat), as_rows(histories), mask_history, torch.tensor(users)
    ).tolist()
    return [[ranks.pop(0) for _ in own] for own in targets]


def as_rows(histories):
    return [np.array(items, dtype=np.int64) for items in histories]


def slow_list(scores, targets, history, mask_history):
    """Return the items of one user, best first; what ties with a target comes before it."""
    masked = set() if mask_history == "none" else set(history)
    if mask_history == "unseen-only":
        masked -= set(targets)
    candidates = [item for item in range(len(scores)) if item not in masked]
    places = {item: place for place, item in enumerate(targets)}
    return sorted(candidates, key=lambda item: (-scores[item], places.get(item, -1)))


def test_tied_targets_come_last_but_not_both_in_the_last_place():
    ranker = CountRanker(Popularity(np.array([4, 4, 4, 7, 1])), as_rows([[]]))
    # The list is 3 (7), 0 (4), then the targets 1 and 2 (4), then 4 (1).
    assert rank(ranker, [[1, 2]], [[]], "all") == [[3, 4]]
    assert rank(ranker, [[2, 1]], [[]], "all") == [[3, 4]]
    assert rank(ranker, [[1]], [[]], "all") == [[4]]  # here 2 is no target


def test_a_masked_target_moves_no_other():
    ranker = CountRanker(Popularity(np.array([4, 3, 2, 1])), as_rows([[0]]))
    assert rank(ranker, [[0, 2]], [[0]], "all") == [[UNREACHABLE, 2]]
    assert rank(ranker, [[0, 2]], [[0]], "unseen-only") == [[1, 3]]


def test_what_is_no_number_is_ranked_last_and_in_places_of_its_own():
    scores = torch.tensor([[math.nan], [1.0], [math.nan], [2.0]])
    assert rank(VectorRanker(torch.ones(1, 1), scores), [[0, 1, 2]], [[]], "none") == [[3, 2, 4]]


@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=ITEMS, max_size=ITEMS), min_size=1, max_size=5),
    st.sampled_from(["all", "unseen-only", "none"]),
    st.integers(1, 3),
    st.integers(1, ITEMS + 1),
    st.data(),
)
def test_ranks_are_places_in_a_list(scores, mask_history, users_per_block, items_per_block, data):
    rows = st.integers(0, ITEMS - 1)
    targets = [data.draw(st.lists(rows, min_size=1, max_size=4, unique=True)) for _ in scores]
    histories = [data.draw(st.lists(rows, max_size=5)) for _ in scores]
    slow = []
    for own, user_targets, history in zip(scores, targets, histories, strict=True):
        shown = slow_list(own, user_targets, history, mask_history)
        slow.append(
            [shown.index(item) + 1 if item in shown else UNREACHABLE for item in user_targets]
        )
    vectors = torch.tensor(scores, dtype=torch.float32)
    with blocks_of(users_per_block, items_per_block):
        fast = rank(VectorRanker(vectors, torch.eye(ITEMS)), targets, histories, mask_history)
    assert fast == slow
    users = torch.tensor([user for user, own in enumerate(targets) for _ in own])
    flat = torch.tensor([item for own in targets for item in own])
    masked = [set() if mask_history == "none" else set(history) for history in histories]
    if mask_history == "unseen-only":
        # Of the target that is ranked alone: the others of its user do not change its list's length
        # by more than themselves.
        fewest = min(
            ITEMS - len(masked[user] - {item})
            for user, item in zip(users.tolist(), flat.tolist(), strict=True)
        )
    else:
        fewest = min(ITEMS - len(own) for own in masked)
    assert fewest_candidates(ITEMS, flat, as_rows(histories), mask_history, users) == fewest


def test_figures_by_hand():
    ranks, users = torch.tensor([1, 3, 11, 99]), torch.tensor([4, 7, 7, 7])
    second, third = 1 / math.log2(3), 1 / math.log2(4)
    assert hr_at(ranks, 10, users).item() == pytest.approx((1 + 1 / 3) / 2)
    assert ndcg_at(ranks, 10, users).item() == pytest.approx((1 + third / (1 + second + third)) / 2)
    assert ndcg_at(ranks, 1, users).item() == pytest.approx((1 + 0) / 2)
    assert mrr_at(ranks, 20, users).item() == pytest.approx((1 + 1 / 3) / 2)


@given(
    st.lists(
        st.lists(st.integers(1, 60), min_size=1, max_size=6, unique=True), min_size=1, max_size=5
    ),
    st.sampled_from(CUTOFFS),
)
def test_metrics_agree_with_lists_cut_at_k(ranks, k):
    """As MMRec counts them: hits in a list of K, the ideal list full of targets."""
    recall, ndcg, mrr = [], [], []
    for own in ranks:
        hits = [place in own for place in range(1, k + 1)]
        gains = [1 / math.log2(place + 1) for place in range(1, k + 1)]
        recall.append(sum(hits) / len(own))
        ndcg.append(
            sum(gain for gain, is_hit in zip(gains, hits, strict=True) if is_hit)
            / sum(gains[: len(own)])
        )
        mrr.append(1 / (hits.index(True) + 1) if any(hits) else 0)
    flat = torch.tensor([rank for own in ranks for rank in own])
    figures = summarise(flat, torch.tensor([u for u, own in enumerate(ranks) for _ in own]))
    for name, slow in (("hr", recall), ("ndcg", ndcg), ("mrr", mrr)):
        assert figures[f"{name}@{k}"] == pytest.approx(sum(slow) / len(slow))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_of_one_target_the_bits_are_those_of_a_plain_mean(ranks):
    flat = torch.tensor(ranks)
    assert hr_at(flat, 10).item() == (flat <= 10).double().mean().item()
    gains = torch.where(flat <= 10, 1.0 / torch.log2(flat.double() + 1.0), 0.0)
    assert ndcg_at(flat, 10).item() == gains.mean().item()
    assert mrr_at(flat, 10).item() == torch.where(flat <= 10, 1 / flat.double(), 0.0).mean().item()


def test_of_a_slice_the_users_own_targets_count_alone():
    slices = slice_metrics(
        torch.tensor([1, 30, 2]), np.array(["a", "b", "a"]), torch.tensor([0, 0, 1])
    )
    assert {name: part["users"] for name, part in slices.items()} == {"a": 2, "b": 1}
    assert (slices["a"]["hr@10"], slices["b"]["hr@10"]) == (1.0, 0.0)
