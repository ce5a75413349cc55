"""Mutual information of what is Gaussian, of which the formula is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.analysis.mutual_information import PairSums
from support.counts import of_full


def information(one, other, *cuts):
    sums = PairSums(one.shape[1])
    for block in zip(np.split(one, cuts), np.split(other, cuts), strict=True):
        sums.add(*block)
    return sums.information()


def correlated(items, rho, width=1, seed=0):
    """Return two Gaussian samples whose dimensions are correlated pair by pair."""
    random = np.random.default_rng(seed)
    one = random.normal(size=(items, width))
    return one, rho * one + np.sqrt(1 - rho**2) * random.normal(size=(items, width))


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9, -0.7])
@pytest.mark.parametrize("width", [1, 8])
def test_correlated_gaussians_give_what_the_formula_gives(rho, width):
    expected = -0.5 * width * np.log(1 - rho**2)
    found = information(*correlated(50_000, rho, width))
    # The estimate of one pair scatters by about |rho| / sqrt(n).
    assert found.nats == pytest.approx(expected, abs=4 * np.sqrt(width) * abs(rho) / 50_000**0.5)
    assert found.dimensions == (width, width)
    assert not found.is_capped


@pytest.mark.parametrize(("items", "width"), [(100, 4), (300, 32), (1_000, 64)])
def test_independent_outputs_give_zero_on_average(items, width):
    """Without the correction the mean would be d^2 / 2n or more: 0.08, 1.9 and 2.2 nats."""
    rounds = 30
    random = np.random.default_rng(1)
    found = [
        information(random.normal(size=(items, width)), random.normal(size=(items, width)))
        for _ in range(rounds)
    ]
    scatter = np.std([one.nats for one in found])
    assert np.mean([one.nats for one in found]) == pytest.approx(
        0, abs=4 * scatter / np.sqrt(rounds)
    )
    assert found[0].bias > width**2 / (2 * items)
    # It is the limit for many items; with few the scatter is somewhat larger.
    assert scatter == pytest.approx(found[0].noise, rel=0.5)


@settings(max_examples=of_full(40, 15))
@given(
    st.integers(40, 300),
    st.lists(st.integers(0, 300), max_size=3).map(sorted),
    st.floats(-0.9, 0.9),
    st.integers(0, 2**32 - 1),
)
def test_blocks_give_what_determinants_of_the_whole_give(items, cuts, rho, seed):
    one, other = correlated(items, rho, 3, seed)
    found = information(one + 100, other, *cuts)
    covariance = np.cov(np.concatenate([one, other], axis=1).T)
    logarithms = [
        np.linalg.slogdet(part)[1] for part in (covariance[:3, :3], covariance[3:, 3:], covariance)
    ]
    expected = 0.5 * (logarithms[0] + logarithms[1] - logarithms[2])
    assert found.nats + found.bias == pytest.approx(expected, abs=1e-6)


def test_linear_maps_of_one_side_change_nothing():
    one, other = correlated(2_000, 0.6, 5)
    plain = information(one, other).nats
    mixed = one @ np.random.default_rng(2).normal(size=(5, 5))
    scales = np.array([1e-6, 1e-2, 1, 1e3, 1e5])
    assert information(mixed, other).nats == pytest.approx(plain, abs=1e-9)
    assert information(one * scales + 7, other).nats == pytest.approx(plain, abs=1e-6)
    assert information(other, one).nats == pytest.approx(plain)


def test_dimensions_that_say_nothing_do_not_count():
    one, other = correlated(2_000, 0.6, 2)
    padded = np.column_stack([one, one @ [1.0, 2.0], np.full(2_000, 3.0)])
    padded_other = np.column_stack([other, np.zeros((2_000, 2))])
    found = information(padded, padded_other)
    assert found.dimensions == (2, 2)
    assert found.nats == pytest.approx(information(one, other).nats, abs=1e-6)


def test_outputs_that_follow_from_each_other_are_capped():
    one, _ = correlated(500, 0.0, 2)
    found = information(one, one[:, ::-1] * 3)
    assert found.is_capped
    assert found.nats + found.bias == pytest.approx(2 * 0.5 * np.log(1e6))


def test_too_few_items_give_none():
    for items in (0, 1, 2, 3):
        one, other = correlated(items, 0.5, 4)
        found = information(one, other)
        assert (found.items, found.nats, found.bias, found.noise) == (items, None, None, None)


def test_outputs_that_never_change_give_zero():
    found = information(np.ones((50, 3)), np.zeros((50, 3)))
    assert (found.nats, found.dimensions) == (0.0, (0, 0))
