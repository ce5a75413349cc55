"""Which setting is chosen: by the mean of validation figures over seeds. No type here has a place for a test figure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossan.cache_schema.errors import DataError
from crossan.train.sweep.points import Point
from crossan.train.sweep.stores_read import StoresRead
from crossan.train.sweep.trials import Trial, label_of

__all__ = ["RULE", "SettingResult", "TrialResult", "choose", "group", "spread"]

RULE = (
    "highest mean validation hr@10 over the seeds; among equals the highest mean validation ndcg@10, then the fewest"
    " trainable parameters, then the first in the sweep's order"
)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A finished trial: its validation figures at the best epoch."""

    trial: Trial
    valid: Mapping[str, float]
    best_epoch: int
    trainable_parameters: int
    sequences: str
    """Digest of the users, catalogue and items the figures are about."""
    stores: Mapping[str, Mapping[str, Any]]
    """What it read, by modality; empty where it read item ids alone."""

    @classmethod
    def read(
        cls, trial: Trial, figures: Mapping[str, Any], stores: Mapping[str, Mapping[str, Any]]
    ) -> TrialResult:
        """Take what a trial needs of ``validation.json`` and ``cache.lock.json``."""
        return cls(
            trial,
            {str(name): float(value) for name, value in figures["valid"].items()},
            int(figures["best_epoch"]),
            int(figures["trainable_parameters"]),
            str(figures["sequences"]),
            stores,
        )


@dataclass(frozen=True, slots=True)
class SettingResult:
    """A point with the results of all its seeds."""

    point: Point
    results: tuple[TrialResult, ...]

    def mean(self, metric: str) -> float:
        """Return a validation metric's mean over the seeds."""
        return statistics.fmean(result.valid[metric] for result in self.results)

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Return mean and deviation of every validation metric."""
        return spread([result.valid for result in self.results])


def group(
    results: Sequence[TrialResult], points: Sequence[Point], seeds: Sequence[int]
) -> list[SettingResult]:
    """Return the points all of whose seeds are finished, in their order; a point that was drawn twice stands once."""
    found = {result.trial.name: result for result in results}
    settings = {}
    for point in points:
        names = [Trial(point, seed).name for seed in seeds]
        if all(name in found for name in names):
            settings[names[0]] = SettingResult(point, tuple(found[name] for name in names))
    return list(settings.values())


def choose(settings: Sequence[SettingResult]) -> SettingResult:
    """Return the setting that `RULE` names, of at least one.

    Raises
    ------
    DataError
        Figures are about different users, items or targets.
    IncompatibleError
        Figures come of different stores, or versions of them.
    """
    read, digests = StoresRead(), {}
    for setting in settings:
        for result in setting.results:
            read.add(result.trial.place, setting.point, result.stores)
            digests[result.sequences] = setting
    if len(digests) > 1:
        first, second = list(digests.values())[:2]
        raise DataError(
            "trials saw different sequences, so their figures cannot be compared:"
            f" {label_of(first.point)} and {label_of(second.point)}",
            remedy="Sweep modalities with --set data.drop_items=false, and leave the dataset alone while a sweep runs",
        )
    return min(  # the first of equals
        settings,
        key=lambda s: (-s.mean("hr@10"), -s.mean("ndcg@10"), s.results[0].trainable_parameters),
    )


def spread(figures: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Return ``{"mean", "sd"}`` of every metric over seeds; the sample's deviation, None for one seed."""
    values = {name: [one[name] for one in figures] for name in figures[0]}
    return {
        name: {"mean": statistics.fmean(one), "sd": statistics.stdev(one) if len(one) > 1 else None}
        for name, one in values.items()
    }
