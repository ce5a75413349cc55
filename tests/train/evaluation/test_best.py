"""The best items against sorting the whole row, with many ties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.evaluation import best
from crossan.train.evaluation.best import NewItems, best_items
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


def best_with_new_one_by_one(scores, history, count, least, is_new):
    """Return the best new items and the best others in what places are left, by sorting."""
    order = sorted({*range(len(scores))} - {*history}, key=lambda item: (-scores[item], item))
    new = [item for item in order if is_new[item]][: min(least, count)]
    others = [item for item in order if item not in new][: count - len(new)]
    return [item for item in order if item in new or item in others]


@given(st.data())
def test_a_list_has_so_many_new_items_at_least(data):
    items, count = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 8))
    least = data.draw(st.integers(0, 9))
    users = data.draw(
        st.lists(
            st.lists(st.integers(-3, 3), min_size=items, max_size=items), min_size=1, max_size=4
        )
    )
    is_new = data.draw(st.lists(st.booleans(), min_size=items, max_size=items))
    histories = [
        np.array(data.draw(st.lists(st.integers(0, items - 1), max_size=4)), np.int64)
        for _ in users
    ]
    ranker = VectorRanker(torch.eye(len(users)), torch.tensor(users).float().T.contiguous())
    rows, scores = best_items(ranker, histories, count, NewItems(least, torch.tensor(is_new)))
    for user, history in enumerate(histories):
        slow = best_with_new_one_by_one(users[user], history.tolist(), count, least, is_new)
        assert rows[user].tolist() == slow + [-1] * (count - len(slow))
        assert scores[user, : len(slow)].tolist() == [users[user][item] for item in slow]


def test_new_items_of_a_model_that_counts_tie_in_the_order_of_the_catalogue():
    """Counts 3, 0, 2, 0, 0: of the three new ones the first two take the last two of three places."""
    ranker = CountRanker(Popularity(np.array([3, 0, 2, 0, 0])), [np.zeros(0, np.int64)])
    is_new = torch.tensor([False, True, False, True, True])
    nobody = [np.zeros(0, np.int64)]
    assert best_items(ranker, nobody, 3, NewItems(2, is_new))[0].tolist() == [[0, 1, 3]]
    assert best_items(ranker, nobody, 3, NewItems(1, is_new))[0].tolist() == [[0, 2, 1]]
    assert best_items(ranker, nobody, 3, NewItems(0, is_new))[0].tolist() == [[0, 2, 1]]
