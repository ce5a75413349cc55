r"""Whether two models differ, over users that both have ranked.

Every function takes one number a user, such as the NDCG@10 of the user's target.
For a model that was trained with several seeds the number is the mean over the
seeds: users are what a test samples, and seeds are not users.

With :math:`d_u = a_u - b_u` the difference at user u, :math:`\bar d` its mean
over n users and s its standard deviation (n - 1 in the denominator),

.. math:: t = \frac{\bar d}{s / \sqrt n}, \qquad \text{effect size} = \frac{\bar d}{s}.

The effect size is Cohen's d of paired differences. It does not grow with the
number of users, as t does: 0.2 is called small, 0.5 medium, 0.8 large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["RESAMPLES", "Paired", "bootstrap_interval", "holm", "paired"]

PerUser = npt.NDArray[np.float64]
"""A number for each user, ``(users,)``."""

RESAMPLES = 1000
"""How often a bootstrap draws the users anew."""

_MOST_DRAWS_AT_ONCE = 1 << 20
"""Numbers that a bootstrap holds in memory at a time: 8 MiB."""

_MOST_FOR_EXACT = 50
"""Differences up to which the distribution of Wilcoxon's statistic is counted out."""

_DECIMALS = 12
"""Digits of a difference that count, so that equal ones stay equal when they are rounded sums."""


@dataclass(frozen=True, slots=True)
class Paired:
    """How one model differs from another over the same users."""

    users: int
    difference: float
    """Mean difference, the first less the second."""
    interval: tuple[float, float]
    """Bootstrap interval of the mean difference."""
    t_p: float | None
    """Two-sided p-value of the paired t-test, None for a single user."""
    wilcoxon_p: float
    """Two-sided p-value of Wilcoxon's signed-rank test."""
    effect_size: float | None
    """Mean difference in standard deviations, None where all users differ by the same amount."""


def bootstrap_interval(
    values: PerUser, *, seed: int, level: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the percentile interval of a mean, by drawing users with replacement.

    Parameters
    ----------
    values
        A number for each user, ``(users,)``, at least one.
    seed
        Seed of the draws; the same seed gives the same interval.
    level
        Share of the resampled means that lie in the interval.
    resamples
        How often as many users as there are are drawn anew.

    Raises
    ------
    ValueError
        There is no value, or ``level`` is not between 0 and 1.

    Notes
    -----
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    _require_values(values)
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    # Metrics of users take few values: 0 and 1 for HR, one for each rank for NDCG. How often each
    # value is drawn is a multinomial number, which is a draw for each value and not for each user.
    distinct, counts = np.unique(values, return_counts=True)
    shares = counts / len(values)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(_MOST_DRAWS_AT_ONCE // len(distinct), 1)
    for first in range(0, resamples, block):
        size = min(block, resamples - first)
        drawn = generator.multinomial(len(values), shares, size=size)  # (size, distinct values)
        means[first : first + size] = drawn @ distinct / len(values)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired(a: PerUser, b: PerUser, *, seed: int = 0, level: float = 0.95) -> Paired:
    """Return how a model with the numbers ``a`` differs from one with the numbers ``b``.

    Parameters
    ----------
    a, b
        A number for each user, ``(users,)``, of the same users in the same order.
    seed, level
        Seed and level of the bootstrap interval.

    Raises
    ------
    ValueError
        There is no user, or the lengths differ.
    """
    if len(a) != len(b):
        raise ValueError(f"expected as many users in both, got {len(a)} and {len(b)}")
    _require_values(a)
    differences = np.round(np.asarray(a, np.float64) - np.asarray(b, np.float64), _DECIMALS)
    deviation = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    # Whether they are all the same is asked of the numbers: a deviation that should be 0 may
    # come out as 1e-17.
    is_constant = bool((differences == differences[0]).all())
    mean = float(differences[0]) if is_constant else float(differences.mean())
    effect_size = mean / deviation if not is_constant else (None if mean else 0.0)
    return Paired(
        users=len(differences),
        difference=mean,
        interval=bootstrap_interval(differences, seed=seed, level=level),
        t_p=_t_test(differences, is_constant=is_constant),
        wilcoxon_p=_wilcoxon(differences),
        effect_size=effect_size,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Return p-values adjusted for being several, in their order.

    Sorted so that :math:`p_{(1)} \le \dots \le p_{(m)}`,

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min\{(m - j + 1)\, p_{(j)},\ 1\}.

    Among tests of true null hypotheses one or more adjusted p-values at or below
    .05 come up with a probability of at most .05, whatever depends on what.

    Notes
    -----
    Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979).
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    by_size = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for position, index in enumerate(by_size):
        highest = max(highest, min((len(p_values) - position) * p_values[index], 1.0))
        adjusted[index] = highest
    return adjusted


def _require_values(values: PerUser) -> None:
    if not len(values):
        raise ValueError("expected a number for at least one user, got none")


def _t_test(differences: PerUser, *, is_constant: bool) -> float | None:
    if len(differences) < 2:
        return None
    if is_constant:
        return 0.0 if differences[0] else 1.0
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0.0).pvalue)


def _wilcoxon(differences: PerUser) -> float:
    """Return the p-value without the users that do not differ, as Wilcoxon left them out.

    The exact distribution is that of different sizes. With ties among them, and
    for many users, it is the normal one with the variance corrected for ties.
    """
    changed = differences[differences != 0]
    if not len(changed):
        return 1.0
    from scipy.stats import wilcoxon

    is_exact = len(changed) <= _MOST_FOR_EXACT and len(np.unique(np.abs(changed))) == len(changed)
    method = "exact" if is_exact else "asymptotic"
    p_value = float(wilcoxon(changed, method=method).pvalue)
    # Rounding in the normal tail may pass 1 by a last digit.
    return min(p_value, 1.0) if not math.isnan(p_value) else 1.0
