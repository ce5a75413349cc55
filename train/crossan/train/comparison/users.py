"""Metrics of single users, in the same order for every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.train.comparison.finished import FinishedRun
from crossan.train.comparison.rows import Row
from crossan.train.record.reading import RANKS_FILE
from crossan.train.record.user_ranks import Part, UserRanks, read_user_ranks

__all__ = ["METRICS", "PerUserMetrics", "per_user_metrics", "require_figure"]

METRICS = ("hr@10", "ndcg@10", "hr@20", "ndcg@20")
"""What is compared, as in the paper's tables."""

_TOLERANCE = 1e-9
"""How far a mean over users may lie from the recorded figure, which was summed in another order."""


@dataclass(frozen=True, slots=True)
class PerUserMetrics:
    """A number for each user, row and metric."""

    values: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]
    """By name of the row and metric, ``(users,)`` in an order that all rows share; of several seeds
    the mean."""
    targets: int
    """Held-out items of all users."""
    cold_targets: int


def per_user_metrics(rows: Sequence[Row], part: Part) -> PerUserMetrics | None:
    """Return the metrics of every user, None where a run has not recorded its ranks.

    Raises
    ------
    IncompatibleError
        Two runs rank different users.
    StoreIntegrityError
        Recorded ranks are damaged, or are not those that the run's figures come from.
    """
    if not all(run.has_ranks for row in rows for run in row.runs):
        return None
    first_run = rows[0].runs[0]
    first = read_user_ranks(first_run.path, part)
    values = {}
    for row in rows:
        sums = {metric: np.zeros(len(first.user_ids)) for metric in METRICS}
        for run in row.runs:
            ranks = first if run is first_run else read_user_ranks(run.path, part)
            _require_users(ranks.user_ids, first.user_ids, run, first_run)
            for metric in METRICS:
                of_users = _metric(ranks, metric)
                require_figure(of_users, run, part, metric)
                sums[metric] += of_users
        values[row.name] = {metric: total / len(row.runs) for metric, total in sums.items()}
    return PerUserMetrics(values, len(first.ranks), int(first.is_cold.sum()))


def _metric(ranks: UserRanks, metric: str) -> npt.NDArray[np.float64]:
    name, _, cutoff = metric.partition("@")
    return ranks.hits(int(cutoff)) if name == "hr" else ranks.ndcg(int(cutoff))


def _require_users(
    user_ids: npt.NDArray[np.str_],
    wanted: npt.NDArray[np.str_],
    run: FinishedRun,
    first_run: FinishedRun,
) -> None:
    """Refuse a run that ranks other users than the first one, whose ids are sorted too."""
    if np.array_equal(user_ids, wanted):
        return
    missing = np.setdiff1d(wanted, user_ids)
    has, lacks = (first_run, run) if len(missing) else (run, first_run)
    missing = missing if len(missing) else np.setdiff1d(user_ids, wanted)
    raise IncompatibleError(
        f"{has.path} and {lacks.path} rank different users: {len(missing):,} of the first are"
        f" not among the second's, first: {missing[0]}",
        remedy="Train both on the same dataset: crossan-train --dataset DATASET",
    )


def require_figure(
    of_users: npt.NDArray[np.float64], run: FinishedRun, part: Part, metric: str
) -> None:
    """Refuse ranks whose mean is not what the run says: the files are of two evaluations."""
    recorded, mean = float(run.figures[part][metric]), float(of_users.mean())
    if abs(mean - recorded) > _TOLERANCE:
        raise StoreIntegrityError(
            f"{run.path / RANKS_FILE}: expected {part} {metric} {recorded:.6f} as result.json"
            f" says, found {mean:.6f}",
            remedy="Copy both files from where the run was trained, or train it again",
        )
