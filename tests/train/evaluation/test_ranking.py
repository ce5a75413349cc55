"""Ranks by counting, metrics and popularity against slow or hand-worked answers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.evaluation import lower
from crossan.train.evaluation.metrics import (
    CUTOFFS,
    UNREACHABLE,
    hr_at,
    mrr_at,
    ndcg_at,
    summarise,
)
from crossan.train.evaluation.ranker import VectorRanker
from crossan.train.evaluation.ranking import fewest_candidates, ranks_by_counting, top_items
from crossan.train.sequences.popularity import log_popularity, training_counts
from support.score_blocks import blocks_of


def rank_all(user_vectors, item_vectors, targets, histories=None, mask_history="none"):
    histories = [np.array(items, dtype=np.int64) for items in histories or [[]] * len(targets)]
    ranker = VectorRanker(user_vectors, item_vectors)
    return ranks_by_counting(ranker, torch.tensor(targets), histories, mask_history).tolist()


def rank_of(scores, target):
    return rank_all(
        torch.ones(1, 1), torch.tensor(scores, dtype=torch.float32).unsqueeze(1), [target]
    )[0]


@pytest.mark.parametrize(
    ("scores", "target", "rank"),
    [
        ([1, 2, 3], 2, 1),
        ([1, 2, 3], 0, 3),
        ([2, 2, 3], 0, 3),  # the other 2 counts against it
        ([5, 5, 5, 5], 1, 4),  # a model that scores all alike knows nothing
        ([math.nan, 1.0, 2.0], 0, 3),
        ([0.0, math.nan, 2.0], 2, 2),  # what is no number may be higher
    ],
)
def test_ranks_by_hand(scores, target, rank):
    assert rank_of(scores, target) == rank


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.data())
def test_rank_agrees_with_sorting(scores, data):
    item = data.draw(st.integers(0, len(scores) - 1))
    others = scores[:item] + scores[item + 1 :]
    assert rank_of(scores, item) == 1 + sum(other >= scores[item] for other in others)


def test_ranks_agree_with_sorting_every_user():
    """The argsort twin, on scores without ties."""
    random = torch.Generator().manual_seed(0)
    users, items = torch.randn(300, 8, generator=random), torch.randn(500, 8, generator=random)
    targets = torch.randint(0, 500, (300,), generator=random)
    order = (users @ items.T).argsort(dim=1, descending=True)
    slow = (order == targets.unsqueeze(1)).int().argmax(dim=1) + 1
    assert rank_all(users, items, targets.tolist()) == slow.tolist()


def test_identical_items_tie_in_every_block(monkeypatch):
    """Whatever the block, and whatever the processor does at its edge: a collapsed model is ranked last everywhere."""
    random = torch.Generator().manual_seed(1)
    users, items = (
        torch.randn(70, 64, generator=random),
        torch.randn(1, 64, generator=random).expand(700, 64),
    )
    for size in (2_500_000, 64 * 100, 64 * 33):
        monkeypatch.setattr(lower, "_SCORES_PER_BLOCK", {"cpu": size})
        assert rank_all(users, items, [7 * n for n in range(70)]) == [700] * 70


def test_scores_a_rounding_apart_tie_and_others_do_not():
    one = 1 + torch.finfo(torch.float32).eps
    assert rank_of([1.0, one, 1 / one, 0.9999], 1) == 3
    assert rank_of([1.0, 1.0001, 0.9999], 0) == 2


def slow_rank(scores, target, history, mask_history):
    masked = set() if mask_history == "none" else set(history)
    if mask_history == "unseen-only":
        masked.discard(target)
    if target in masked:
        return UNREACHABLE
    return 1 + sum(
        scores[j] >= scores[target] for j in range(len(scores)) if j != target and j not in masked
    )


SCORES = st.lists(st.lists(st.integers(-2, 2), min_size=6, max_size=6), min_size=1, max_size=7)


@given(
    SCORES,
    st.sampled_from(["all", "unseen-only", "none"]),
    st.integers(1, 3),
    st.integers(1, 7),
    st.data(),
)
def test_blocks_and_masks_agree_with_a_loop(
    scores, mask_history, users_per_block, items_per_block, data
):
    users = len(scores)
    targets = data.draw(st.lists(st.integers(0, 5), min_size=users, max_size=users))
    histories = data.draw(
        st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=users, max_size=users)
    )
    slow = [
        slow_rank(s, t, h, mask_history) for s, t, h in zip(scores, targets, histories, strict=True)
    ]
    with blocks_of(users_per_block, items_per_block):
        fast = rank_all(
            torch.tensor(scores, dtype=torch.float32),
            torch.eye(6),
            targets,
            histories,
            mask_history,
        )
    assert fast == slow


@given(
    st.integers(1, 55),
    st.sampled_from(["all", "unseen-only", "none"]),
    st.sampled_from(CUTOFFS),
    st.data(),
)
def test_metrics_of_a_small_catalogue_agree_with_lists_cut_at_k(item_count, mask_history, k, data):
    """Of a list that leaves out what is masked, whether or not it is shorter than K."""
    rows = st.integers(0, item_count - 1)
    history, target = data.draw(st.lists(rows, max_size=12)), data.draw(rows)
    scores = data.draw(
        st.lists(st.integers(-99, 99), min_size=item_count, max_size=item_count, unique=True)
    )
    masked = set() if mask_history == "none" else set(history)
    if mask_history == "unseen-only":
        masked.discard(target)
    candidates = [row for row in range(item_count) if row not in masked]
    shown = sorted(candidates, key=lambda row: -scores[row])[:k]
    place = shown.index(target) + 1 if target in shown else None
    ranks = torch.tensor(
        rank_all(
            torch.ones(1, 1), torch.tensor([scores]).float().T, [target], [history], mask_history
        )
    )
    assert hr_at(ranks, k).item() == (place is not None)
    assert mrr_at(ranks, k).item() == pytest.approx(0 if place is None else 1 / place)
    assert ndcg_at(ranks, k).item() == pytest.approx(
        0 if place is None else 1 / math.log2(place + 1)
    )
    histories = [np.array(history, dtype=np.int64), np.zeros(0, np.int64)]
    fewest = fewest_candidates(item_count, torch.tensor([target, 0]), histories, mask_history)
    assert fewest == len(candidates)


def test_among_nobody_every_item_is_a_candidate():
    assert fewest_candidates(7, torch.zeros(0, dtype=torch.int64), [], "all") == 7


def test_nobody_has_no_rank():
    assert rank_all(torch.zeros(0, 2), torch.zeros(3, 2), [], []) == []


@given(SCORES, st.integers(1, 8), st.integers(1, 3), st.integers(1, 7), st.data())
def test_the_top_items_are_the_highest_that_are_not_seen(
    scores, count, users_per_block, items_per_block, data
):
    users = len(scores)
    histories = data.draw(
        st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=users, max_size=users)
    )
    with blocks_of(users_per_block, items_per_block):
        top = top_items(
            VectorRanker(torch.tensor(scores, dtype=torch.float32), torch.eye(6)),
            [np.array(items, dtype=np.int64) for items in histories],
            count,
        ).tolist()
    for own, shown, history in zip(scores, top, histories, strict=True):
        items = [item for item in shown if item >= 0]
        allowed = sorted((own[item] for item in range(6) if item not in history), reverse=True)[
            :count
        ]
        assert [own[item] for item in items] == allowed  # which of equal ones is open
        assert len(set(items)) == len(items)
        assert not set(items) & set(history)
        assert shown[len(items) :] == [-1] * (count - len(items))


@pytest.mark.parametrize(
    ("rank", "k", "expected"), [(1, 10, 1.0), (3, 10, 0.5), (10, 10, 0.2890648), (11, 10, 0.0)]
)
def test_ndcg_known_answers(rank, k, expected):
    assert ndcg_at(torch.tensor([rank]), k).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ranks", "k", "expected"),
    [([1], 5, 1.0), ([4], 5, 0.25), ([6], 5, 0.0), ([2, 5, 50], 20, (1 / 2 + 1 / 5) / 3)],
)
def test_mrr_known_answers(ranks, k, expected):
    assert mrr_at(torch.tensor(ranks), k).item() == pytest.approx(expected)


def test_hr_is_the_share_at_or_above_k():
    assert hr_at(torch.tensor([1, 10, 11, 500]), 10).item() == 0.5


def test_summary_of_no_rank_is_zero():
    names = [f"{name}@{k}" for name in ("hr", "ndcg", "mrr") for k in (5, 10, 20, 50)]
    assert summarise(torch.zeros(0, dtype=torch.int64)) == dict.fromkeys(names, 0.0)


def test_popularity_has_a_floor_of_one_count():
    counts = training_counts(np.array([0, 0, 0, 2]), item_count=3)
    assert counts.tolist() == [3, 0, 1]
    assert log_popularity(counts).exp().tolist() == pytest.approx([3 / 4, 1 / 4, 1 / 4])
