"""Tests, intervals and effect sizes of differences between users."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.comparison.statistics import bootstrap_interval, holm, paired
from support.counts import of_full

_VALUES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12)


def test_mean_difference_and_effect_size_by_hand():
    # Differences 1, 2, 3: mean 2, standard deviation 1.
    result = paired(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert result.users == 3
    assert result.difference == pytest.approx(2)
    assert result.effect_size == pytest.approx(2)


def test_t_test_of_three_users_by_hand():
    # t = 2 / (1 / sqrt(3)), and with two degrees of freedom p = 1 - t / sqrt(2 + t^2).
    t = 2 * math.sqrt(3)
    result = paired(np.array([1.0, 2.0, 3.0]), np.zeros(3))
    assert result.t_p == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_t_test_of_two_users_by_hand():
    # With one degree of freedom Student's distribution is Cauchy's: p = 1 - 2 atan(t) / pi.
    result = paired(np.array([1.0, 3.0]), np.zeros(2))
    t = 2 / (math.sqrt(2) / math.sqrt(2))
    assert result.t_p == pytest.approx(1 - 2 * math.atan(t) / math.pi)


def test_wilcoxon_of_four_users_that_all_gain():
    # Of the 16 ways to give four sizes a sign, one sums as high and one as low.
    assert paired(np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4)).wilcoxon_p == pytest.approx(2 / 16)


def test_wilcoxon_of_hits_is_the_test_of_mcnemar():
    # 30 users gain a hit and 10 lose one, 60 stay: z = (30 - 10) / sqrt(30 + 10).
    first = np.repeat([1.0, 0.0, 1.0], [30, 10, 60])
    second = np.repeat([0.0, 1.0, 1.0], [30, 10, 60])
    z = 20 / math.sqrt(40)
    assert paired(first, second).wilcoxon_p == pytest.approx(math.erfc(z / math.sqrt(2)))


def _slow_wilcoxon(differences):
    """Return the exact p-value by giving the sizes every sign there is."""
    changed = [d for d in differences if d]
    order = sorted(range(len(changed)), key=lambda index: abs(changed[index]))
    ranks = {index: rank for rank, index in enumerate(order, 1)}
    center = len(changed) * (len(changed) + 1) / 4
    ours = abs(sum(ranks[index] for index, d in enumerate(changed) if d > 0) - center)
    sums = [
        sum(rank for rank, is_plus in zip(ranks.values(), signs, strict=True) if is_plus)
        for signs in itertools.product([False, True], repeat=len(changed))
    ]
    return sum(abs(total - center) >= ours for total in sums) / len(sums)


@given(st.lists(st.integers(-40, 40), min_size=1, max_size=9, unique_by=abs))
@settings(max_examples=of_full(40, 15), deadline=None)
def test_wilcoxon_of_few_users_equals_counting_all_signs(differences):
    values = np.array(differences, float)
    if values.any():
        result = paired(values, np.zeros(len(values)))
        assert result.wilcoxon_p == pytest.approx(_slow_wilcoxon(differences))


def test_ties_survive_rounding_of_means_over_seeds():
    # A gain of one seed in three is the same size whether it goes from 0 to 1/3 or from 2/3 to 1:
    # with all sizes equal z = (7 - 2) / sqrt(9).
    first = np.array([1 / 3, 2 / 3, 1.0, 1 / 3, 2 / 3, 1.0, 1.0, 0.0, 1 / 3])
    second = np.array([0.0, 1 / 3, 2 / 3, 0.0, 1 / 3, 2 / 3, 2 / 3, 1 / 3, 2 / 3])
    expected = math.erfc(5 / 3 / math.sqrt(2))
    assert paired(first, second).wilcoxon_p == pytest.approx(expected)


def test_models_that_agree_on_every_user_do_not_differ():
    same = np.array([0.0, 1.0, 0.5])
    result = paired(same, same)
    assert (result.difference, result.interval) == (0.0, (0.0, 0.0))
    assert (result.t_p, result.wilcoxon_p, result.effect_size) == (1.0, 1.0, 0.0)


def test_the_same_gain_at_every_user_has_no_deviation_to_divide_by():
    result = paired(np.full(5, 0.3), np.full(5, 0.2))
    assert result.difference == pytest.approx(0.1)
    assert result.interval == pytest.approx((0.1, 0.1))
    assert result.t_p == 0.0
    assert result.effect_size is None


def test_one_user_is_no_sample_for_a_t_test():
    result = paired(np.array([1.0]), np.array([0.0]))
    assert result.t_p is None
    assert result.wilcoxon_p == 1.0


@given(_VALUES, st.data())
@settings(max_examples=of_full(40, 15), deadline=None)
def test_swapping_the_models_turns_the_sign_and_nothing_else(first, data):
    second = data.draw(st.lists(st.integers(-4, 4), min_size=len(first), max_size=len(first)))
    a, b = np.array(first), np.array(second, float)
    there, back = paired(a, b), paired(b, a)
    assert there.difference == pytest.approx(-back.difference)
    assert there.t_p == (None if back.t_p is None else pytest.approx(back.t_p))
    assert there.wilcoxon_p == pytest.approx(back.wilcoxon_p)
    assert there.wilcoxon_p <= 1


def test_users_must_be_the_same_and_at_least_one():
    with pytest.raises(ValueError, match="as many users in both, got 2 and 1"):
        paired(np.zeros(2), np.zeros(1))
    with pytest.raises(ValueError, match="at least one user, got none"):
        paired(np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="level between 0 and 1, got 95"):
        bootstrap_interval(np.ones(3), seed=0, level=95)


def test_interval_of_two_users_by_hand():
    # The mean of two draws from 0 and 1 is 0, 1/2 and 1 with probability 1/4, 1/2 and 1/4.
    values = np.array([0.0, 1.0])
    assert bootstrap_interval(values, seed=0, level=0.95) == (0.0, 1.0)
    assert bootstrap_interval(values, seed=0, level=0.4) == (0.5, 0.5)


def test_interval_of_many_hits_is_that_of_the_normal_distribution():
    # HR 0.1 of 10,000 users: 0.1 +- 1.96 * sqrt(0.1 * 0.9 / 10000).
    values = np.repeat([0.0, 1.0], [9000, 1000])
    half = 1.96 * math.sqrt(0.09 / 10000)
    low, high = bootstrap_interval(values, seed=3, resamples=20_000)
    assert (low, high) == pytest.approx((0.1 - half, 0.1 + half), abs=2e-4)


def _slow_interval(values, level, resamples):
    """Return the interval by drawing one user after another."""
    generator = np.random.default_rng(7)
    means = [
        np.mean([values[generator.integers(len(values))] for _ in values]) for _ in range(resamples)
    ]
    return tuple(np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))


def test_interval_equals_that_of_drawing_users_one_by_one():
    values = np.array([0.0, 0.0, 1.0, 2.5, 2.5, 4.0, 7.0, -3.0])
    expected = _slow_interval(values, 0.8, 4000)
    # Means of eight users with deviation 2.9 spread by 1; the ends are known to a twentieth of it.
    assert bootstrap_interval(values, seed=1, level=0.8, resamples=4000) == pytest.approx(
        expected, abs=0.12
    )


def test_interval_follows_from_the_seed_and_not_from_the_block(monkeypatch):
    values = np.random.default_rng(0).random(50)
    whole = bootstrap_interval(values, seed=5)
    monkeypatch.setattr("crossan.train.comparison.statistics._MOST_DRAWS_AT_ONCE", 120)
    assert bootstrap_interval(values, seed=5) == whole
    assert bootstrap_interval(values, seed=6) != whole


def test_interval_of_all_users_of_a_large_dataset_takes_little_memory():
    ranks = np.random.default_rng(0).integers(1, 2000, (2, 100_000))
    first, second = np.where(ranks <= 20, 1 / np.log2(ranks + 1.0), 0.0)
    tracemalloc.start()
    paired(first, second)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_holm_by_hand():
    # By size 0.01 * 4, 0.02 * 3, 0.03 * 2 and 0.04 * 1, which may not be below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def _slow_holm(p_values):
    """Return for each p-value the lowest level at which Holm's procedure rejects it."""
    ordered = sorted(p_values)
    steps = [min((len(ordered) - i) * p, 1.0) for i, p in enumerate(ordered)]
    return [max(steps[: ordered.index(p) + 1]) for p in p_values]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_equals_its_definition(p_values):
    assert holm(p_values) == _slow_holm(p_values)
