"""The points that a sweep tries, as every combination or as draws that a seed repeats."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from crossan.train.sweep.settings import Range, SweepSettings, parse_range

__all__ = ["Point", "corners", "drawn_points", "grid_points"]

Point = Mapping[str, Any]
"""A value for every axis, by the dotted name of the setting."""


def grid_points(sweep: SweepSettings) -> list[Point]:
    """Return every combination, with the values of the last name changing fastest.

    Without an axis there is one empty point.
    """
    return [
        dict(zip(sweep.grid, values, strict=True))
        for values in itertools.product(*sweep.grid.values())
    ]


def drawn_points(sweep: SweepSettings) -> list[Point]:
    """Return ``trials`` random points.

    Each depends only on the sampler's seed, its number and the axes.
    """
    # A generator of its own for each point, so that more trials change none of the first.
    return [
        _drawn(sweep, np.random.default_rng([sweep.sampler_seed, number]))
        for number in range(sweep.trials or 0)
    ]


def corners(sweep: SweepSettings) -> Iterator[Point]:
    """Yield points that together show every value of the grid and both ends of every range."""
    ends: dict[str, tuple[Any, ...]] = {
        name: (_whole_or_not(bounds, bounds.low), _whole_or_not(bounds, bounds.high))
        for name, bounds in _ranges(sweep).items()
    }
    axes = {**sweep.grid, **ends}
    # All axes advance together, and an axis that runs out repeats its last value: as many points as
    # the longest axis has values show every one of them.
    for number in range(max(map(len, axes.values()), default=0)):
        yield {name: values[min(number, len(values) - 1)] for name, values in axes.items()}


def _ranges(sweep: SweepSettings) -> dict[str, Range]:
    return {name: parse_range(name, text) for name, text in sweep.range.items()}


def _drawn(sweep: SweepSettings, random: np.random.Generator) -> Point:
    point: dict[str, Any] = {
        name: values[int(random.integers(len(values)))] for name, values in sweep.grid.items()
    }
    for name, bounds in _ranges(sweep).items():
        point[name] = _whole_or_not(bounds, _number(bounds, float(random.random())))
    return point


def _number(bounds: Range, share: float) -> float:
    """Return the number below which this share of the range lies."""
    # Half a step more at both ends: the ends are rounded to as often as the numbers between them.
    margin = 0.5 if bounds.is_whole else 0.0
    low, high = bounds.low - margin, bounds.high + margin
    if bounds.is_log:
        low, high = math.log(low), math.log(high)
    number = low + share * (high - low)
    return math.exp(number) if bounds.is_log else number


def _whole_or_not(bounds: Range, number: float) -> int | float:
    """Return the number within the bounds, rounded where they are whole."""
    inside = min(max(round(number) if bounds.is_whole else number, bounds.low), bounds.high)
    return int(inside) if bounds.is_whole else inside
