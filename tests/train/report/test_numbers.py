"""The arithmetic behind the page: intervals, labels, axes, and SVG in the page's colours."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.report.figures import COLOURS, INK, MUTED, Numbers, figure
from crossan.train.report.gates import _inputs
from crossan.train.report.gathering import point_label
from crossan.train.report.slices import wilson_interval


def test_wilson_by_hand():
    # p = 1/2, n = 4, z^2 = 3.8415: middle 1/2, half z sqrt(1/16 + z^2/64) / (1 + z^2/4) = 0.3500.
    low, high = wilson_interval(0.5, 4)
    assert (low, high) == pytest.approx((0.1500, 0.8500), abs=1e-4)
    # No hit among n users: from 0 to z^2 / (n + z^2).
    assert wilson_interval(0.0, 10) == pytest.approx((0.0, 3.841459 / 13.841459), abs=1e-6)


@given(st.integers(0, 50), st.integers(1, 50))
def test_wilson_solves_its_equation(hits, count):
    share = min(hits, count) / count
    for end in wilson_interval(share, count):
        assert -1e-12 <= end <= 1 + 1e-12
        if 1e-9 < end < 1 - 1e-9:
            # The ends are the shares from which the one seen is 1.96 of their own deviations away.
            deviation = math.sqrt(end * (1 - end) / count)
            assert abs(share - end) == pytest.approx(1.959964 * deviation, abs=1e-5)


def test_gates_without_cross_modal_terms_have_two_inputs():
    assert _inputs([0.25, 0.0, 0.75], tower=0, count=2) == [-0.25, None, 0.25]
    assert _inputs([0.25, 0.25, 0.5], tower=0, count=2) == pytest.approx([-1 / 12, -1 / 12, 1 / 6])


def test_a_point_as_people_read_it():
    point = {"model.kind": "sasrec", "optimiser.lr": 0.00012346, "model.width": 64}
    assert point_label(point) == "model sasrec, lr 0.0001235, width 64"
    assert point_label({}) == "base settings"


def test_a_figure_takes_the_colours_of_the_page_and_keeps_its_labels():
    label = 'a "#b" <i> $x$ 0.123456 & id="c"'

    def draw(canvas):
        axes = canvas.add_subplot()
        axes.plot([1, 2], [3, 4.5], color=COLOURS[0])
        axes.set_xlabel(label)

    drawn = figure(
        "name", "Title", Numbers(("a", "b"), [(1, None)]), draw, size=(3, 2), alt="A line"
    )
    import html

    assert label in html.unescape(drawn.inline)
    assert INK not in drawn.inline
    assert MUTED not in drawn.inline
    assert "currentColor" in drawn.inline
    assert INK in drawn.svg
    assert 'fill="#ffffff"' in drawn.svg
    assert drawn.numbers.to_csv() == "a,b\n1,\n"
    again = figure("name", "Title", Numbers((), []), draw, size=(3, 2), alt="A line")
    assert (again.inline, again.png) == (drawn.inline, drawn.png)
