"""Triples: every pair once, a third item that the user lacks, and the same again for the same epoch."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.objectives.triples import Triples
from crossan.train.sequences.flat import flat
from support.counts import of_full

ITEMS = 6
PARTS = st.lists(st.lists(st.integers(0, ITEMS - 2), max_size=7), min_size=1, max_size=5)


def triples_of(parts, seed=0, batch_size=2):
    arrays = [np.array(part, dtype=np.int64) for part in parts]
    return Triples(flat(arrays), ITEMS, batch_size, seed, torch.device("cpu"))


@settings(max_examples=of_full(60, 20))
@given(PARTS, st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_an_epoch_has_each_pair_once_and_never_an_item_that_the_user_has(parts, seed, epoch):
    trained = {item for part in parts for item in part}
    drawn = [row for batch in triples_of(parts, seed).batches(epoch) for row in batch.tolist()]
    expected = {
        (user, item) for user, part in enumerate(parts) if set(part) != trained for item in part
    }
    assert len(drawn) == len(expected)
    assert {(user, item) for user, item, _ in drawn} == expected
    assert all(other in trained - set(parts[user]) for user, _, other in drawn)


def test_order_and_draws_follow_from_seed_and_epoch_alone():
    parts = [[user % 5, (user + 1) % 5] for user in range(20)]
    one = torch.cat(list(triples_of(parts).batches(2)))
    objective = triples_of(parts)
    objective.batches(1)
    assert torch.equal(torch.cat(list(objective.batches(2))), one)
    assert not torch.equal(torch.cat(list(objective.batches(3))), one)
    assert not torch.equal(torch.cat(list(triples_of(parts, seed=1).batches(2))), one)
    assert objective.items_of(torch.tensor([[0, 3, 1], [2, 1, 4]])).tolist() == [1, 3, 4]


def test_third_items_are_drawn_alike():
    """One user has 0 and 1; of the three others each comes in a third of 3,000 epochs."""
    objective = triples_of([[0, 1], [2, 3, 4]], batch_size=10)
    others = [
        row[2]
        for epoch in range(1, 1501)
        for row in objective.batches(epoch)[0].tolist()
        if row[0] == 0
    ]
    counts = np.bincount(others, minlength=ITEMS)
    assert counts.sum() == 3000
    assert counts[[0, 1, 5]].tolist() == [0, 0, 0]  # nobody has 5 in training
    assert np.abs(counts[2:5] - 1000).max() < 120  # five deviations of a fair draw


def test_who_has_nearly_everything_gets_the_one_item_left():
    parts = [list(range(1000)), [1000]]
    objective = Triples(
        flat([np.array(part) for part in parts]), 1001, 1001, 0, torch.device("cpu")
    )
    rows = objective.batches(1)[0]
    assert (rows[rows[:, 0] == 0][:, 2] == 1000).all()
