"""Points: every combination, and draws that the seed repeats."""

import math
from collections import Counter

import pytest

from crossan.train.sweep.points import corners, drawn_points, grid_points
from crossan.train.sweep.settings import SweepSettings


def make(**given):
    return SweepSettings.model_validate(given)


def test_a_grid_is_every_combination_in_order():
    points = grid_points(make(grid={"b": [1, 2], "a": ["x", "y"]}))
    assert points == [
        {"a": "x", "b": 1},
        {"a": "x", "b": 2},
        {"a": "y", "b": 1},
        {"a": "y", "b": 2},
    ]


def test_no_axis_is_one_point_the_base_itself():
    assert grid_points(make()) == [{}]


def draw(trials=20, seed=0, **axes):
    return drawn_points(make(sampler="random", trials=trials, sampler_seed=seed, **axes))


AXES = {"range": {"r": "1e-5:1e-2:log", "n": "2:4"}, "grid": {"g": ["a", "b"]}}


def test_the_seed_repeats_the_draws_and_more_draws_begin_with_the_same():
    assert draw(**AXES) == draw(**AXES)
    assert draw(trials=30, **AXES)[:20] == draw(**AXES)
    assert draw(seed=1, **AXES) != draw(**AXES)
    assert len({point["r"] for point in draw(**AXES)}) == 20


def test_draws_stay_inside_and_have_the_kind_of_their_bounds():
    for point in draw(trials=200, **AXES):
        assert 1e-5 <= point["r"] <= 1e-2
        assert isinstance(point["r"], float)
        assert point["n"] in (2, 3, 4)
        assert isinstance(point["n"], int)
        assert point["g"] in ("a", "b")


def test_a_logarithmic_range_spreads_its_logarithm():
    below = sum(point["r"] < math.sqrt(1e-5 * 1e-2) for point in draw(trials=2000, **AXES))
    assert 920 < below < 1080  # half of 2,000, within 3.6 standard deviations of 22.4


def test_whole_numbers_are_equally_likely_ends_included():
    counts = Counter(point["n"] for point in draw(trials=3000, **AXES))
    assert all(900 < counts[number] < 1100 for number in (2, 3, 4))  # 1,000 each, deviation 25.8


def test_values_of_a_grid_are_equally_likely():
    counts = Counter(point["g"] for point in draw(trials=2000, **AXES))
    assert 920 < counts["a"] < 1080  # 1,000, deviation 22.4


@pytest.mark.parametrize("trials", [1, 7])
def test_corners_show_every_value_and_both_ends(trials):
    shown = list(
        corners(
            make(
                sampler="optuna",
                trials=trials,
                grid={"g": [1, 2, 3]},
                range={"r": "0.5:1", "n": "2:4"},
            )
        )
    )
    assert {point["g"] for point in shown} == {1, 2, 3}
    assert {point["r"] for point in shown} == {0.5, 1.0}
    assert {point["n"] for point in shown} == {2, 4}
