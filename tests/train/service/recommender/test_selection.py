"""The best scores, as sorting all of them gives them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.service.recommender.selection import best_of


def slowly(scores, count):
    order = sorted(range(len(scores)), key=lambda position: (-scores[position], position))
    shown = [position for position in order[:count] if scores[position] > float("-inf")]
    return shown, [scores[position] for position in shown]


@given(st.integers(0, 2**32), st.integers(1, 3000), st.integers(1, 40), st.integers(1, 1000))
def test_ties_and_masks_and_odd_sizes(seed, count, levels, top):
    generator = torch.Generator().manual_seed(seed)
    # Few levels, so that most scores tie, and some that are masked.
    scores = torch.randint(levels, (count,), generator=generator).float()
    scores[torch.rand(count, generator=generator) < 0.2] = float("-inf")
    positions, values = best_of(scores, top)
    assert (positions.tolist(), values.tolist()) == slowly(scores.tolist(), top)


@pytest.mark.parametrize("top", [1, 10, 1000])
def test_a_hundred_thousand(top):
    scores = torch.randn(100_003, generator=torch.Generator().manual_seed(top))
    scores[99_990:] = 9.0  # behind the last whole group, all of them equal
    positions, values = best_of(scores, top)
    assert (positions.tolist(), values.tolist()) == slowly(scores.tolist(), top)
