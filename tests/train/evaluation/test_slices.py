"""Parts of the users, cut by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.evaluation.slices import (
    history_bins,
    popularity_deciles,
    slice_metrics,
    test_slices,
)


def test_ten_items_are_ten_deciles_and_equal_counts_go_by_item_id():
    counts = np.array([5, 0, 9, 0, 1, 2, 3, 4, 6, 7])
    # Sorted: rows 1 and 3 (0), 4 (1), 5 (2), 6 (3), 7 (4), 0 (5), 8 (6), 9 (7), 2 (9).
    assert popularity_deciles(counts).tolist() == [7, 1, 10, 2, 3, 4, 5, 6, 8, 9]


def test_three_items_fall_into_the_first_the_fourth_and_the_seventh():
    assert popularity_deciles(np.array([3, 1, 2])).tolist() == [
        7,
        1,
        4,
    ]  # places 2, 0, 1 of 3: 20/3, 0, 10/3, plus one


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200))
def test_deciles_are_of_equal_size_and_follow_popularity(counts):
    deciles = popularity_deciles(np.array(counts))
    sizes = np.bincount(deciles, minlength=11)[1:]
    assert sizes.max() - sizes.min() <= 1
    order = np.lexsort((counts, deciles))
    assert (np.diff(np.array(counts)[order]) >= 0).all()


def test_lengths_are_binned_up_to_powers_of_two():
    lengths = np.array([0, 1, 2, 3, 4, 5, 8, 9, 16, 17])
    assert history_bins(lengths) == [
        "1",
        "1",
        "2",
        "3-4",
        "3-4",
        "5-8",
        "5-8",
        "9-16",
        "9-16",
        "17-32",
    ]


def test_a_slice_holds_its_own_users_alone():
    found = slice_metrics(torch.tensor([1, 100, 2, 100]), np.array(["a", "b", "a", "a"]))
    assert list(found) == ["a", "b"]
    assert (found["a"]["users"], found["b"]["users"]) == (3, 1)
    assert found["a"]["hr@10"] == pytest.approx(2 / 3)
    assert found["a"]["mrr@10"] == pytest.approx((1 + 1 / 2) / 3)
    assert found["b"]["hr@10"] == 0.0


def test_the_three_ways_to_slice():
    slices = test_slices(
        ranks=torch.tensor([1, 20, 3]),
        targets=np.array([2, 0, 1]),  # training counts 4, 0, 1
        lengths=np.array([9, 2, 3]),
        counts=np.array([0, 1, 4]),
        users=torch.arange(3),
    )
    assert {name: part["users"] for name, part in slices["target"].items()} == {
        "cold": 1,
        "warm": 2,
    }
    assert slices["target"]["warm"]["hr@10"] == 1.0
    assert slices["target"]["cold"]["hr@20"] == 1.0
    assert list(slices["target_popularity_decile"]) == ["1", "4", "7"]
    assert slices["target_popularity_decile"]["7"]["mrr@5"] == 1.0
    assert slices["target_popularity_decile"]["4"]["mrr@5"] == pytest.approx(1 / 3)
    assert list(slices["history_length"]) == ["2", "3-4", "9-16"]
    assert slices["history_length"]["2"]["hr@10"] == 0.0


def test_slices_come_in_order_whatever_the_order_of_users():
    slices = test_slices(
        torch.ones(4, dtype=torch.int64),
        np.array([9, 0, 9, 5]),
        np.array([20, 2, 3, 1]),
        np.arange(10),
        torch.arange(4),
    )
    assert list(slices["target_popularity_decile"]) == ["1", "6", "10"]
    assert list(slices["history_length"]) == ["1", "2", "3-4", "17-32"]
    assert slices["target"]["cold"]["users"] == 1
