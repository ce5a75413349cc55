"""Coverage and popularity bias, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.evaluation.exposure import exposure_figures, gini


@pytest.mark.parametrize(
    ("exposures", "expected"),
    [
        ([3, 3, 3, 3], 0.0),
        ([0, 0, 0, 8], 0.75),  # one of four gets all: (4 - 1) / 4
        ([1, 3], 0.25),  # (-1 * 1 + 1 * 3) / (2 * 4)
        ([0, 0], 0.0),
    ],
)
def test_gini_by_hand(exposures, expected):
    assert gini(np.array(exposures)) == pytest.approx(expected)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_gini_is_the_mean_difference_of_all_pairs(exposures):
    """The textbook's definition: half the mean absolute difference over the mean."""
    values = np.array(exposures)
    differences = np.abs(values[:, None] - values[None, :]).mean()
    slow = differences / (2 * values.mean()) if values.any() else 0.0
    assert gini(values) == pytest.approx(slow)


def test_figures_by_hand():
    figures = exposure_figures(
        lists=np.array([[0, 1], [0, -1], [-1, -1]]),
        histories=[np.array([2]), np.array([2, 3]), np.array([1])],
        counts=np.array([8, 4, 2, 0]),
    )
    assert figures == {
        "top": 2,
        "coverage": 2 / 4,
        "gini": pytest.approx(
            (1 * 1 + 3 * 2) / (4 * 3)
        ),  # exposures sorted 0, 0, 1, 2 with weights -3, -1, 1, 3
        "mean_popularity": pytest.approx((6 + 8) / 2),  # the third user is shown nothing
        "history_mean_popularity": pytest.approx((2 + 1 + 4) / 3),
        "popularity_lift": pytest.approx(7 / (7 / 3) - 1),
    }


def test_showing_everybody_their_own_taste_has_no_lift():
    rows = np.array([[0], [1], [2]])
    assert exposure_figures(rows, list(rows), np.array([5, 3, 1]))["popularity_lift"] == 0.0


def test_nothing_shown_and_nothing_known():
    figures = exposure_figures(
        np.full((2, 3), -1), [np.array([0]), np.array([0])], np.array([0, 0])
    )
    assert (
        figures["coverage"],
        figures["gini"],
        figures["mean_popularity"],
        figures["popularity_lift"],
    ) == (
        0,
        0,
        0,
        0,
    )
