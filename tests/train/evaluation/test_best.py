"""The best items against sorting the whole row, with many ties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.evaluation import best
from crossan.train.evaluation.best import best_items
from crossan.train.evaluation.ranker import CountRanker, VectorRanker
from crossan.train.models.popularity import Popularity


def by_sorting(scores, history, count):
    """Return the rows by their scores, best first and of equal ones the earlier, padded with -1."""
    order = sorted(set(range(len(scores))) - set(history), key=lambda row: (-scores[row], row))
    return (order + [-1] * count)[:count]


@st.composite
def worlds(draw):
    """Scores so small in number that most of them tie, and histories that may hold everything."""
    users, items = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    row = st.lists(st.integers(-1, 2), min_size=items, max_size=items)
    histories = st.lists(st.integers(0, items - 1), max_size=items)
    return (
        draw(st.lists(row, min_size=users, max_size=users)),
        draw(st.lists(histories, min_size=users, max_size=users)),
        draw(st.integers(1, 15)),
    )


@given(worlds(), st.sampled_from([1, 7, 4_000_000]))
def test_the_best_are_those_that_sorting_gives(world, size):
    scores, histories, count = world
    # One-hot users: a score is then one entry of the item vectors, with nothing to round.
    ranker = VectorRanker(torch.eye(len(scores)), torch.tensor(scores).T.float())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best, "_SCORES_PER_BLOCK", size)
        rows, values = best_items(ranker, [np.array(one, np.int64) for one in histories], count)
    assert rows.tolist() == [
        by_sorting(one, seen, count) for one, seen in zip(scores, histories, strict=True)
    ]
    for of_user, chosen, own in zip(values.tolist(), rows.tolist(), scores, strict=True):
        assert of_user == [own[row] if row >= 0 else float("-inf") for row in chosen]


def test_counts_that_tie_are_shown_by_row():
    ranker = CountRanker(Popularity(np.array([3, 5, 3, 3, 0])), [np.array([1]), np.array([0, 4])])
    rows, scores = best_items(ranker, [np.array([1]), np.array([0, 4])], 2)
    assert rows.tolist() == [[0, 2], [1, 2]]
    assert scores.tolist() == [[3, 3], [5, 3]]
