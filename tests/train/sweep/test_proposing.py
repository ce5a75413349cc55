"""Proposals: what optuna is asked and told, and that a replay comes by the same points."""

import sys

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.sweep.proposing import batches, planned_count
from crossan.train.sweep.settings import SweepSettings

AXES = {"grid": {"g": [[0], [0, 1]]}, "range": {"r": "1e-4:1:log", "n": "1:9"}}


def make(sampler, **given):
    return SweepSettings.model_validate({"sampler": sampler, **AXES, **given})


def score(point):
    return -abs(point["r"] - 0.1) - abs(point["n"] - 4) / 10 - len(point["g"])


def points_of(sweep, told=score):
    return [point for batch in batches(sweep, told) for point in batch]


def test_draws_come_in_one_batch():
    assert [len(batch) for batch in batches(make("random", trials=5), score)] == [5]
    assert planned_count(make("random", trials=5)) == 5
    assert planned_count(SweepSettings.model_validate({"grid": {"a": [1, 2], "b": [1, 2, 3]}})) == 6


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        UsageError,
        match=r"(?s)expected the library optuna, found none.*pip install 'crossan\[optuna\]'",
    ):
        next(batches(make("optuna", trials=5), score))


@pytest.fixture
def optuna():
    return pytest.importorskip(
        "optuna",
        reason="optuna is not installed (pip install '.[optuna]'): its sampler is untested",
    )


@pytest.mark.parametrize("at_once", [1, 3, 4])
def test_it_proposes_so_many_at_a_time_and_comes_by_the_same_points_again(optuna, at_once):
    sweep = make("optuna", trials=25, at_once=at_once)
    sizes = [len(batch) for batch in batches(sweep, score)]
    assert set(sizes[:-1]) == {at_once}
    assert sum(sizes) == 25
    first = points_of(sweep)
    assert points_of(sweep) == first
    assert points_of(make("optuna", trials=25, at_once=at_once, sampler_seed=1)) != first
    for point in first:
        assert point["g"] in ([0], [0, 1])
        assert 1e-4 <= point["r"] <= 1
        assert isinstance(point["n"], int)


def test_it_learns_from_what_it_is_told(optuna):
    sweep = make("optuna", trials=40, at_once=2)
    late = [score(point) for point in points_of(sweep)[20:]]
    blind = [score(point) for point in points_of(sweep, told=lambda point: 0.0)[20:]]
    drawn = [score(point) for point in points_of(make("random", trials=40))[20:]]
    assert sum(late) > max(sum(blind), sum(drawn))


def test_a_point_that_failed_is_told_as_such_and_the_search_goes_on(optuna):
    sweep = make("optuna", trials=20, at_once=1)
    found = points_of(sweep, told=lambda point: None if point["n"] > 4 else score(point))
    assert len(found) == 20
    assert any(point["n"] > 4 for point in found)
