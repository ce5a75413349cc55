"""Ranks by counting, metrics and popularity against slow or hand-worked answers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train import ranking
from crossan.train.metrics import hr_at, ndcg_at, summarise
from crossan.train.popularity import log_popularity, training_counts
from crossan.train.ranking import held_out_rank, ranks_by_counting


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.data())
def test_rank_agrees_with_sorting(scores, data):
    item = data.draw(st.integers(0, len(scores) - 1))
    others = scores[:item] + scores[item + 1 :]
    slow = 1 + sum(other >= scores[item] for other in others)
    assert held_out_rank(torch.tensor([scores]), torch.tensor([item])).item() == slow


def test_a_nan_score_ranks_last():
    assert held_out_rank(torch.tensor([[math.nan, 1.0, 2.0]]), torch.tensor([0])).item() == 3


def slow_rank(scores, target, history, mask_history):
    masked = set() if mask_history == "none" else set(history)
    if mask_history == "unseen-only":
        masked.discard(target)
    if target in masked:
        return len(scores)
    return 1 + sum(scores[j] >= scores[target] for j in range(len(scores)) if j != target and j not in masked)


@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=6, max_size=6), min_size=1, max_size=7),
    st.sampled_from(["all", "unseen-only", "none"]),
    st.integers(1, 20),
    st.data(),
)
def test_blocks_and_masks_agree_with_a_loop(scores, mask_history, scores_per_block, data):
    users = len(scores)
    targets = data.draw(st.lists(st.integers(0, 5), min_size=users, max_size=users))
    histories = data.draw(st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=users, max_size=users))
    slow = [slow_rank(s, t, h, mask_history) for s, t, h in zip(scores, targets, histories, strict=True)]
    kept, ranking._SCORES_PER_BLOCK = ranking._SCORES_PER_BLOCK, scores_per_block
    try:
        fast = ranks_by_counting(
            torch.tensor(scores, dtype=torch.float32),
            torch.eye(6),
            torch.tensor(targets),
            [np.array(history, dtype=np.int64) for history in histories],
            mask_history,
        )
    finally:
        ranking._SCORES_PER_BLOCK = kept
    assert fast.tolist() == slow


@pytest.mark.parametrize(("rank", "k", "expected"), [(1, 10, 1.0), (3, 10, 0.5), (10, 10, 0.2890648), (11, 10, 0.0)])
def test_ndcg_known_answers(rank, k, expected):
    assert ndcg_at(torch.tensor([rank]), k).item() == pytest.approx(expected)


def test_hr_is_the_share_at_or_above_k():
    assert hr_at(torch.tensor([1, 10, 11, 500]), 10).item() == 0.5


def test_summary_of_no_rank_is_zero():
    assert summarise(torch.zeros(0, dtype=torch.int64)) == {"hr@10": 0.0, "hr@20": 0.0, "ndcg@10": 0.0, "ndcg@20": 0.0}


def test_popularity_has_a_floor_of_one_count():
    counts = training_counts(np.array([0, 0, 0, 2]), item_count=3)
    assert counts.tolist() == [3, 0, 1]
    assert log_popularity(counts).exp().tolist() == pytest.approx([3 / 4, 1 / 4, 1 / 4])
