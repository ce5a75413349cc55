"""Both kinds of ranker against dense scores, whatever blocks they are asked for."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.evaluation.ranker import CountRanker, VectorRanker
from crossan.train.evaluation.ranking import ranks_by_counting

ITEMS = 5
ROWS = st.lists(st.integers(0, ITEMS - 1), max_size=4, unique=True)
BLOCKS = st.lists(
    st.tuples(st.integers(0, ITEMS), st.integers(0, ITEMS)).map(sorted), min_size=1, max_size=4
)


class Followers:
    """Scores an item by its base and by what the last item of a history adds to it."""

    def __init__(self, base, gains):
        self._base, self._gains = base, gains

    def base_scores(self):
        return torch.tensor(self._base, dtype=torch.float32)

    def scores_after(self, history):
        gains = self._gains[history[-1]] if len(history) else {}
        return np.array(list(gains), dtype=np.int64), np.array(list(gains.values()), np.float32)

    def dense(self, histories):
        """Return what a loop over users and items gives."""
        scores = [list(self._base) for _ in histories]
        for row, history in zip(scores, histories, strict=True):
            for item, gain in self._gains[history[-1]].items() if len(history) else ():
                row[item] += gain
        return torch.tensor(scores, dtype=torch.float32)


@st.composite
def followers(draw):
    counts = st.integers(0, 4)
    base = draw(st.lists(counts, min_size=ITEMS, max_size=ITEMS))
    gains = st.dictionaries(st.integers(0, ITEMS - 1), st.integers(1, 3), max_size=3)
    return Followers(base, draw(st.lists(gains, min_size=ITEMS, max_size=ITEMS)))


@given(followers(), st.lists(ROWS, min_size=1, max_size=4), BLOCKS)
def test_counts_are_the_base_and_what_a_history_adds(model, histories, blocks):
    histories = [np.array(rows, dtype=np.int64) for rows in histories]
    ranker, dense = CountRanker(model, histories), model.dense(histories)
    assert (ranker.user_count, ranker.item_count) == dense.shape
    users = torch.arange(len(histories)).flip(0)
    for first, end in blocks:
        assert torch.equal(ranker.scores(users, slice(first, end)), dense[users, first:end])


@given(followers(), st.lists(ROWS, min_size=1, max_size=4), st.data())
def test_counts_tie_only_where_they_are_equal(model, histories, data):
    histories = [np.array(rows, dtype=np.int64) for rows in histories]
    targets = [data.draw(st.integers(0, ITEMS - 1)) for _ in histories]
    dense = model.dense(histories).tolist()
    slow = [
        1 + sum(score >= scores[target] for item, score in enumerate(scores) if item != target)
        for scores, target in zip(dense, targets, strict=True)
    ]
    ranker = CountRanker(model, histories)
    assert ranks_by_counting(ranker, torch.tensor(targets), histories, "none").tolist() == slow


@given(st.integers(0, 2**16), BLOCKS)
def test_blocks_of_dot_products_are_parts_of_the_whole(seed, blocks):
    generator = torch.Generator().manual_seed(seed)
    user_vectors, item_vectors = (
        torch.randint(-3, 4, (size, 4), generator=generator).float() for size in (6, ITEMS)
    )
    ranker, dense = VectorRanker(user_vectors, item_vectors), user_vectors @ item_vectors.T
    for users in (torch.tensor([4, 0]), torch.tensor([1]), torch.arange(6)):
        for first, end in blocks:
            assert torch.equal(ranker.scores(users, slice(first, end)), dense[users, first:end])
