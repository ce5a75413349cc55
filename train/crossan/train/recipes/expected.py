"""How far from a figure a run may end and still count as having reproduced it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from crossan.train.recipes.recipe import Recipe

__all__ = ["JUDGED", "Difference", "differences", "tolerance"]

JUDGED = ("hr@10", "ndcg@10", "hr@20", "ndcg@20")
"""Metrics that are compared within a tolerance. Parameters are compared exactly; seconds, memory
and mutual information are shown, as they depend on the machine or on an estimator that the paper
does not name."""

_SEED_SPREAD = {"hr": 0.001, "ndcg": 0.0008}
"""Twice the standard deviation between seeds, as measured on MicroLens-50K with ids over three
seeds (docs/benchmarks/quality.md: 0.05 and 0.04 points)."""
_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of a run beside the one it is to reproduce."""

    expected: float
    found: float
    tolerance: float

    @property
    def is_within(self) -> bool:
        """Whether the run reproduces the figure."""
        return abs(self.found - self.expected) <= self.tolerance


def tolerance(recipe: Recipe, metric: str) -> float:
    r"""Return by how much a run's metric may differ from the figure of its row.

    It is the half-width of the 95 % interval of a mean over the users,

    .. math:: 1.96 \sqrt{m (1 - m) / n},

    with m the figure and n the users, plus the spread between seeds where
    weights are learned. m (1 - m) is the variance of hits. That of NDCG is at
    most so large, as a user's NDCG lies between 0 and 1. Both the paper's
    rounding and the search for settings are well below that.

    Parameters
    ----------
    recipe
        A recipe with this figure.
    metric
        One of `JUDGED`.
    """
    figure = recipe.figures[metric]
    half_width = _NORMAL_95 * math.sqrt(figure * (1.0 - figure) / recipe.dataset.users)
    spread = _SEED_SPREAD[metric.partition("@")[0]] if recipe.is_trained or recipe.of else 0.0
    return half_width + spread


def differences(recipe: Recipe, result: Mapping[str, object]) -> dict[str, Difference]:
    """Return how a result differs from the figures of a recipe that are judged, by name.

    Parameters
    ----------
    recipe
        What was run.
    result
        ``result.json`` of the run, with its test part.
    """
    by_metric: dict[str, Difference] = {}
    test = result["test"]
    assert isinstance(test, Mapping)
    for name, figure in recipe.figures.items():
        if name in JUDGED:
            by_metric[name] = Difference(figure, float(test[name]), tolerance(recipe, name))
        elif name == "parameters":
            parameters = result["trainable_parameters"]
            assert isinstance(parameters, int)
            by_metric[name] = Difference(figure, parameters, 0.0)
    return by_metric
