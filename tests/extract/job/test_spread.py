"""How much layers differ between items, beside numpy over all items at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.extract.job.spread import Spread


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.floats(0, 100), st.integers(0, 99))
def test_the_sums_agree_with_all_items_at_once(batches, mean, seed):
    rng = np.random.default_rng(seed)
    items = rng.normal(mean, 1.0, (sum(batches), 2, 3)).astype(np.float32)
    spread, done = Spread((0, 6), 3, len(items)), 0
    for size in batches:
        spread.add(items[done : done + size])
        done += size
    assert spread.items == len(items)
    if not len(items):
        return
    whole = items.astype(np.float64)
    share = whole.var(axis=0).mean(axis=1) / np.square(whole).mean(axis=(0, 2))
    assert list(spread.deviation) == [0, 6]
    assert list(spread.deviation.values()) == pytest.approx(np.sqrt(share), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("batch", [1, 7, 4000])
def test_items_are_chosen_evenly_however_they_are_batched(batch):
    items = np.arange(4000, dtype=np.float32).reshape(-1, 1, 1)
    spread = Spread((0,), 1, 4000)
    for start in range(0, 4000, batch):
        spread.add(items[start : start + batch])
    every_fourth = np.arange(0, 4000, 4)
    assert spread.items == 1000
    share = every_fourth.var() / np.square(every_fourth.astype(float)).mean()
    assert spread.deviation[0] == pytest.approx(share**0.5)


def test_layers_that_hardly_differ_are_flat():
    # Layer 0 is 100 for both items, layer 6 is 100 and 102, layer 12 is 0 and 100.
    items = np.array([[[100.0], [100.0], [0.0]], [[100.0], [102.0], [100.0]]], dtype=np.float32)
    spread = Spread((0, 6, 12), 1, 2)
    spread.add(items)
    # Deviation 1 of a root mean square of about 101; 50 of about 70.7.
    assert spread.deviation == {
        0: 0.0,
        6: pytest.approx(1 / 101.005, rel=1e-4),
        12: pytest.approx(0.5**0.5),
    }
    assert spread.nearly_flat_layers == (0, 6)
    assert spread.to_text() == (
        "differences between 2 items: layer 0 0.0%, layer 6 1.0%, layer 12 70.7%"
    )


def test_one_item_and_zeros_tell_nothing():
    spread = Spread((0,), 2, 5)
    spread.add(np.ones((1, 1, 2), dtype=np.float32))
    assert spread.nearly_flat_layers == ()
    zeros = Spread((0,), 2, 5)
    zeros.add(np.zeros((3, 1, 2), dtype=np.float32))
    assert (zeros.deviation, zeros.nearly_flat_layers) == ({0: 0.0}, (0,))


def test_the_sums_of_several_jobs_are_those_of_one():
    items = np.random.default_rng(0).normal(2, 1, (9, 2, 3)).astype(np.float32)
    parts = [Spread((0, 1), 3, 3) for _ in range(3)]
    for number, part in enumerate(parts):
        part.add(items[3 * number : 3 * number + 3])
    whole = Spread((0, 1), 3, 9)
    whole.add(items)
    joined = Spread.joined([None, *parts])
    assert joined.items == 9
    assert list(joined.deviation.values()) == pytest.approx(list(whole.deviation.values()))
    assert Spread.joined([None]) is None
