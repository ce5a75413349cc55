"""Curves as SVG: the line goes where the numbers are, and the best epoch is marked."""

import math
import re

import pytest

from crossan.train.service.web.pages.curves import Curve, curves_of, draw
from crossan.train.service.web.pages.traces import Epoch
from support.pages import Page


def epoch(number, loss=1.0, value=0.05, is_best=False):
    return Epoch(number, loss, {} if value is None else {"ndcg@10": value}, is_best)


def points_of(svg):
    path = re.search(r'class="line" d="M([^"]*)"', svg)[1]
    return [tuple(map(float, point.split())) for point in path.split("L")]


def ticks_of(svg, axis):
    found = re.findall(rf'<text class="{axis}" x="([\d.]+)" y="([\d.]+)">([^<]*)</text>', svg)
    return {float(text): (float(x), float(y)) for x, y, text in found}


def test_both_curves_and_the_best_epoch():
    curves = curves_of([epoch(1, 2.0, 0.01, True), epoch(2, 1.5, 0.03, True), epoch(3, 1.4, 0.02)])
    assert [curve.title for curve in curves] == ["Training loss", "Validation NDCG@10"]
    assert curves[0].best is None
    assert curves[1].best == (2, 0.03)
    svg = draw(curves[1])
    assert "best: epoch 2, 0.0300" in svg
    label = Page(svg).all("svg")[0]["aria-label"]
    assert label == (
        "Validation NDCG@10 over epochs 1 to 3: from 0.0100 to 0.0200, best at epoch 2 with 0.0300"
    )


def test_points_lie_where_the_ticks_say():
    """Between two ticks a value lies in proportion: an axis that lies would show."""
    svg = draw(Curve("Loss", tuple((number, 10.0 - number) for number in range(1, 9))))
    xs, ys = ticks_of(svg, "x"), ticks_of(svg, "y")
    for (epoch_number, value), (x, y) in zip(
        [(number, 10.0 - number) for number in range(1, 9)], points_of(svg), strict=True
    ):
        if epoch_number in xs:
            assert x == pytest.approx(xs[epoch_number][0], abs=0.15)
        low, high = min(ys), max(ys)
        share = (value - low) / (high - low)
        expected = ys[low][1] + share * (ys[high][1] - ys[low][1]) - 4
        assert y == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize(
    "values",
    [[5.0], [0.0], [1e-9, 2e-9], [1e9, 3e9], [0.05, 0.05, 0.05], [-1.0, 1.0], [1e-320, 0.0]],
    ids=str,
)
def test_any_numbers_can_be_drawn(values):
    svg = draw(Curve("Loss", tuple(enumerate(values, 1))))
    for x, y in points_of(svg):
        assert 0 <= x <= 460
        assert 0 <= y <= 230
    assert 2 <= len(ticks_of(svg, "y")) <= 9
    assert "nan" not in svg
    assert Page(svg).all("path")


def test_what_is_not_finite_is_left_out():
    curves = curves_of([epoch(1, math.nan, math.inf), epoch(2, 1.0, None), epoch(3, 0.9, 0.1)])
    assert [curve.points for curve in curves] == [((2, 1.0), (3, 0.9)), ((3, 0.1),)]
    assert curves_of([]) == []


def test_a_long_training_is_drawn_with_few_points_and_its_last_one():
    svg = draw(Curve("Loss", tuple((number, float(number)) for number in range(1, 12_346))))
    assert len(points_of(svg)) <= 402
    assert points_of(svg)[-1][0] == 446.0
    assert len(svg) < 20_000
