"""Choosing a setting by the mean of validation metrics over seeds.

No type in this module can hold a test metric.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossan.cache_schema.errors import DataError
from crossan.train.sweep.points import Point
from crossan.train.sweep.stores_read import StoresRead
from crossan.train.sweep.trials import Trial, label_of

__all__ = [
    "RULE",
    "SettingResult",
    "TrialResult",
    "choose",
    "cold_spread",
    "group",
    "spread",
]

_OF_COLD = ("hr@10", "ndcg@10")

RULE = (
    "highest mean validation hr@10 over the seeds; among equals the highest mean validation"
    " ndcg@10, then the fewest trainable parameters, then the first in the sweep's order"
)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of a finished trial."""

    trial: Trial
    model: str
    """The kind of model that was trained."""
    valid: Mapping[str, float]
    """Validation metrics at the best epoch."""
    best_epoch: int
    trainable_parameters: int
    sequences: str
    """Digest of the users, catalogue and items that were ranked."""
    stores: Mapping[str, Mapping[str, Any]]
    """The stores that it read, by modality; empty where it read item ids alone."""
    cold_valid: Mapping[str, float] | None = None
    """Those of validation targets that nobody had in training; older runs did not record them."""

    @classmethod
    def read(
        cls, trial: Trial, figures: Mapping[str, Any], stores: Mapping[str, Mapping[str, Any]]
    ) -> TrialResult:
        """Build it from ``validation.json`` and the stores of ``cache.lock.json``."""
        return cls(
            trial,
            str(figures["model"]),
            {str(name): float(value) for name, value in figures["valid"].items()},
            int(figures["best_epoch"]),
            int(figures["trainable_parameters"]),
            str(figures["sequences"]),
            stores,
            figures.get("cold_valid"),
        )


@dataclass(frozen=True, slots=True)
class SettingResult:
    """A point with the results of all its seeds."""

    point: Point
    results: tuple[TrialResult, ...]

    def mean(self, metric: str) -> float:
        """Return the mean of a validation metric over the seeds."""
        return statistics.fmean(result.valid[metric] for result in self.results)

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Return the mean and deviation of every validation metric."""
        return spread([result.valid for result in self.results])

    def cold_figures(self) -> dict[str, dict[str, float | None]] | None:
        """Return those of cold validation targets, see `cold_spread`."""
        return cold_spread([result.cold_valid for result in self.results])


def group(
    results: Sequence[TrialResult], points: Sequence[Point], seeds: Sequence[int]
) -> list[SettingResult]:
    """Return the points whose seeds are all finished, in their order.

    A point that was drawn twice is returned once.
    """
    finished = {result.trial.name: result for result in results}
    settings = {}
    for point in points:
        names = [Trial(point, seed).name for seed in seeds]
        # The mean over some of the seeds would favour points whose bad seeds are not done.
        if all(name in finished for name in names):
            settings[names[0]] = SettingResult(point, tuple(finished[name] for name in names))
    return list(settings.values())


def choose(settings: Sequence[SettingResult]) -> SettingResult:
    """Return the setting that `RULE` chooses among one or more.

    Raises
    ------
    DataError
        The trials ranked different users, items or targets.
    IncompatibleError
        The trials read different stores, or different versions of them.
    """
    read, digests = StoresRead(), {}
    for setting in settings:
        for result in setting.results:
            read.add(result.trial.run_path, setting.point, result.stores)
            digests[result.sequences] = setting
    if len(digests) > 1:
        first, second = list(digests.values())[:2]
        raise DataError(
            "trials saw different sequences, so their figures cannot be compared:"
            f" {label_of(first.point)} and {label_of(second.point)}",
            remedy="Sweep modalities with --set data.drop_items=false,"
            " and leave the dataset alone while a sweep runs",
        )
    # Of equals, `min` returns the first.
    return min(
        settings,
        key=lambda s: (-s.mean("hr@10"), -s.mean("ndcg@10"), s.results[0].trainable_parameters),
    )


def spread(metrics: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Return ``mean`` and ``sd`` of every metric over seeds.

    ``sd`` is the deviation of the sample, and None for one seed.
    """
    over_seeds = {name: [of_seed[name] for of_seed in metrics] for name in metrics[0]}
    return {
        name: {
            "mean": statistics.fmean(values),
            "sd": statistics.stdev(values) if len(values) > 1 else None,
        }
        for name, values in over_seeds.items()
    }


def cold_spread(
    metrics: Sequence[Mapping[str, float] | None],
) -> dict[str, dict[str, float | None]] | None:
    """Return `spread` of the metrics of cold targets, None where a run has none, or recorded none.

    Parameters
    ----------
    metrics
        ``cold_valid`` or ``cold_test`` of each seed.
    """
    known = [of_seed for of_seed in metrics if of_seed and of_seed["targets"]]
    if len(known) < len(metrics):
        return None
    return spread([{name: of_seed[name] for name in _OF_COLD} for of_seed in known])
