r"""Whether a new model may take the place of the one in production.

With :math:`d_u` the NDCG@10 of user u by the candidate less that by production, over the test
targets that both ranked, and m the margin, the candidate passes where

.. math:: \bar d \ge -m \quad\text{and}\quad \bar d^{\,+} \ge -m,

:math:`\bar d^{\,+}` being the upper end of the bootstrap interval of the mean. So what was measured
may be worse by the margin and no more, and a model that is surely worse by more never passes.

Which end is the honest one? Only a *lower* end above -m would prove that a model is no worse. Of two
equal models that takes some 40,000 users with a margin of 0.002 (where :math:`d_u` has a standard
deviation of 0.2), so a gate that asked for
proof would keep yesterday's model for ever on smaller data. The estimate decides, therefore, and the
verdict says whether the interval proves it (``is_shown``): where it does not, nights in a row may each
lose a little, and only the figures of many nights side by side tell.

Cold targets, which no training part holds, are few, and their interval is wide: by the estimate alone
every other night would be held back by chance. The candidate is held back where its estimate is worse
than the margin allows *and* the interval of the difference lies below zero: worse by more than the
margin, and surely worse. And it is held back, however few they are, where it finds no cold target at
all and production does: a model that has gone blind to new items has figures that hardly show it.

NaN anywhere holds a model back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.train.comparison.matching import Matched, match_users, one_run
from crossan.train.comparison.statistics import bootstrap_interval
from crossan.train.record.reading import RESULT_FILE

__all__ = ["Rule", "Side", "Verdict", "judge", "judge_runs"]

_DECIMALS = 12
"""Digits of a difference that count, as for `crossan.train.comparison.statistics.paired`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a candidate may lose."""

    margin: float = 0.002
    """NDCG@10 over all users, as a difference."""
    confidence: float = 0.95
    """Of the bootstrap intervals."""
    cold_margin: float = 0.005
    """NDCG@10 over the users with cold targets."""
    seed: int = 0
    """Of the bootstrap: the same runs always give the same verdict."""


@dataclass(frozen=True, slots=True)
class Side:
    """How the two compare over some users."""

    users: int
    candidate: float
    """Mean NDCG@10."""
    production: float
    difference: float
    interval: tuple[float, float]
    is_shown: bool
    """Whether the whole interval lies above minus the margin, which proves it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate may take the place of production, and why not."""

    holds: bool
    reasons: tuple[str, ...]
    """Why it is held back; none where it is not."""
    everyone: Side | None = None
    """None where figures are NaN."""
    cold: Side | None = None
    """None where no user has a cold target."""
    left_out: tuple[int, int] = (0, 0)
    """Users of candidate and production that were not compared."""


def judge_runs(candidate: Path, production: Path, rule: Rule) -> Verdict:
    """Return whether a run may take the place of another.

    Parameters
    ----------
    candidate, production
        Run folders, or what ``crossan evaluate --out`` writes of one.
    rule
        What the candidate may lose.

    Raises
    ------
    UsageError
        There is no finished run with test figures.
    IncompatibleError
        They were not evaluated under one protocol, or ranked no user alike.
    StoreIntegrityError
        A record is damaged.
    """
    named = {"candidate": candidate, "production": production}
    broken = [f"the figures of the {name} are NaN" for name, path in named.items() if _is_nan(path)]
    if broken:
        return Verdict(holds=False, reasons=tuple(broken))
    return judge(match_users(one_run(candidate), one_run(production)), rule)


def judge(matched: Matched, rule: Rule) -> Verdict:
    """Return the verdict on users whom both have ranked."""
    everyone = _side(matched.candidate, matched.production, rule.margin, rule)
    has_cold = ~(np.isnan(matched.candidate_cold) & np.isnan(matched.production_cold))
    cold = None
    if has_cold.any():
        cold = _side(
            matched.candidate_cold[has_cold],
            matched.production_cold[has_cold],
            rule.cold_margin,
            rule,
        )
    against = [_against(everyone, rule), None if cold is None else _against_cold(cold, rule)]
    reasons = tuple(reason for reason in against if reason is not None)
    return Verdict(not reasons, reasons, everyone, cold, matched.left_out)


def _against(side: Side, rule: Rule) -> str | None:
    """Return why all users hold a candidate back, None where they do not."""
    # Written so that NaN, of which no comparison is true, holds back too.
    if side.difference >= -rule.margin and side.interval[1] >= -rule.margin:
        return None
    return (
        f"test NDCG@10 {side.candidate:.4f} against {side.production:.4f} in production, a"
        f" difference of {_signed(side)}: worse by more than the margin of {rule.margin:g}"
    )


def _against_cold(side: Side, rule: Rule) -> str | None:
    """Return why users with cold targets hold a candidate back."""
    if side.candidate == 0 and side.production > 0:
        return (
            f"cold-blind: none of the cold targets of {side.users:,} users is among the first ten,"
            f" with NDCG@10 {side.production:.4f} in production"
        )
    if side.difference >= -rule.cold_margin or side.interval[1] >= 0:
        return None
    return (
        f"NDCG@10 of cold targets {side.candidate:.4f} against {side.production:.4f} in production,"
        f" a difference of {_signed(side)} over {side.users:,} users: worse by more than the margin"
        f" of {rule.cold_margin:g}, and surely worse"
    )


def _side(
    candidate: npt.NDArray[np.float64],
    production: npt.NDArray[np.float64],
    margin: float,
    rule: Rule,
) -> Side:
    differences = np.round(candidate - production, _DECIMALS)
    low, high = bootstrap_interval(differences, seed=rule.seed, level=rule.confidence)
    return Side(
        users=len(differences),
        candidate=float(candidate.mean()),
        production=float(production.mean()),
        difference=float(differences.mean()),
        interval=(low, high),
        is_shown=low >= -margin,
    )


def _signed(side: Side) -> str:
    low, high = side.interval
    return f"{side.difference:+.4f} [{low:+.4f}, {high:+.4f}]"


def _is_nan(run: Path) -> bool:
    """Whether a run's figures hold NaN or infinity, which our reader of JSON refuses."""
    constants: list[str] = []

    def keep(name: str) -> Any:  # noqa: ANN401 - of JSON
        constants.append(name)

    try:
        json.loads((run / RESULT_FILE).read_bytes(), parse_constant=keep)
    except (OSError, ValueError, RecursionError):
        return False  # who reads it in earnest says what is wrong
    return bool(constants)
