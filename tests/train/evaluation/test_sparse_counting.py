"""Ranks and lists from few scores against the same from all of them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from crossan.train.evaluation import best_by_gains, lower
from crossan.train.evaluation.best import best_items
from crossan.train.evaluation.ranker import CountRanker, RanksSparsely
from crossan.train.evaluation.ranking import ranks_by_counting, top_items

ITEMS = 8
BASES = (0.0, 1.0, 2.0, 5.0)
ROWS = st.lists(st.integers(0, ITEMS - 1), max_size=5)
GAINS = st.dictionaries(
    st.integers(0, ITEMS - 1), st.sampled_from([-1.0, 0.0, 0.1 + 0.2, 0.3, 1.0, 3.0])
)


class Gains:
    """Gives each user what the last item of the history adds, the places in no order."""

    def __init__(self, base, gains, dtype):
        self._base, self._gains, self._dtype = base, gains, dtype

    def base_scores(self):
        return torch.tensor(self._base, dtype=self._dtype)

    def scores_after(self, history):
        gains = self._gains[history[-1]] if len(history) else {}
        return np.array(list(gains), dtype=np.int64), np.array(list(gains.values()))

    def gains(self):
        """Keep zeros and the order of the places, unlike a product of two tables."""

        def gains_of(histories):
            parts = [self.scores_after(history) for history in histories]
            begins = np.cumsum([0, *(len(rows) for rows, _ in parts)])
            rows = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in parts)])
            gains = np.concatenate([np.zeros(0), *(gains for _, gains in parts)])
            return sparse.csr_array((gains, rows, begins), shape=(len(parts), ITEMS))

        return gains_of


class Dense:
    """The same ranker without what lets it rank sparsely."""

    def __init__(self, ranker):
        self._ranker = ranker
        self.user_count, self.item_count = ranker.user_count, ranker.item_count
        self.device, self.scores, self.rounding = ranker.device, ranker.scores, ranker.rounding


@st.composite
def models(draw, values=BASES):
    if draw(st.booleans()):
        base = [0.0] * ITEMS
    else:
        base = draw(st.lists(st.sampled_from(values), min_size=ITEMS, max_size=ITEMS))
    gains = draw(st.lists(GAINS, min_size=ITEMS, max_size=ITEMS))
    return Gains(base, gains, draw(st.sampled_from([torch.float32, torch.float64])))


def both(model, histories):
    """Return the histories, and a ranker of each kind."""
    histories = [np.array(rows, dtype=np.int64) for rows in histories]
    ranker = CountRanker(model, histories)
    assert isinstance(ranker, RanksSparsely)
    assert not isinstance(Dense(ranker), RanksSparsely)
    return histories, ranker, Dense(CountRanker(model, histories))


@given(
    models((*BASES, math.nan, math.inf, -math.inf)),
    st.lists(ROWS, min_size=1, max_size=5),
    st.sampled_from(["all", "unseen-only", "none"]),
    st.integers(1, 3),
    st.data(),
)
def test_ranks_from_few_scores_are_those_from_all(
    model, histories, mask_history, users_at_once, data
):
    """One or several targets of a user, masked or not, tied or not, with scores of any kind."""
    rows = st.integers(0, ITEMS - 1)
    targets = [data.draw(st.lists(rows, min_size=1, max_size=3, unique=True)) for _ in histories]
    users = torch.tensor([user for user, own in enumerate(targets) for _ in own])
    flat = torch.tensor([item for own in targets for item in own])
    histories, sparsely, dense = both(model, histories)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower.SparseCounter, "users_at_once", users_at_once)
        fast = ranks_by_counting(sparsely, flat, histories, mask_history, users)
    assert torch.equal(fast, ranks_by_counting(dense, flat, histories, mask_history, users))


@given(models(), st.lists(ROWS, min_size=1, max_size=5), st.integers(1, 10), st.integers(1, 3))
def test_lists_from_few_scores_are_those_from_all(model, histories, count, users_at_once):
    """Ties between items that are gained and items that are not among them."""
    histories, sparsely, dense = both(model, histories)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_by_gains, "_USERS_AT_ONCE", users_at_once)
        patch.setattr(best_by_gains, "_BEYOND", 0)
        rows, scores = best_items(sparsely, histories, count)
        shown = top_items(sparsely, histories, count)
    slow_rows, slow_scores = best_items(dense, histories, count)
    assert torch.equal(rows, slow_rows)
    assert torch.equal(scores, slow_scores)
    assert torch.equal(shown, rows)


def test_a_list_by_hand():
    """The user has item 0 and gains 3 (to 5) and 4 (to 2), where 1 and 2 have 4 and 2 for all."""
    gains = [{3: 4.0, 4: 1.0, 0: 9.0}, *({} for _ in range(ITEMS - 1))]
    model = Gains([7.0, 4.0, 2.0, 1.0, 1.0, 0.0, 0.0, 0.0], gains, torch.float32)
    histories, ranker, _ = both(model, [[0]])
    assert top_items(ranker, histories, 4).tolist() == [[3, 1, 2, 4]]  # 2 ties with 4, and is first
    ranks = ranks_by_counting(ranker, torch.tensor([4]), histories, "all")
    assert ranks.tolist() == [4]
    assert ranks_by_counting(ranker, torch.tensor([4]), histories, "none").tolist() == [5]
