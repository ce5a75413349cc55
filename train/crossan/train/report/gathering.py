"""What the page is made of: runs, grouped by their settings, and sweeps."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.canonical import canonical_bytes
from crossan.train.comparison.finished import FinishedRun, finished_runs
from crossan.train.record.one_protocol import require_one_protocol
from crossan.train.record.reading import SWEEP_FILE, read_environment
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.tried import read_tried
from crossan.train.record.user_ranks import UserRanks, read_user_ranks
from crossan.train.settings import RunSettings

__all__ = ["Entry", "Gathered", "RunFacts", "SweepFacts", "gather", "point_label"]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the folder of a run says."""

    folder: RunFolder
    name: str
    settings: RunSettings
    figures: Mapping[str, Any]
    """Its ``result.json``, or ``validation.json`` where its test targets were not looked at."""
    metrics: Sequence[Mapping[str, Any]]
    environment: Mapping[str, Any]
    stores: Mapping[str, Mapping[str, Any]]
    """By modality, as ``cache.lock.json`` has them."""
    ranks: UserRanks | None
    """Of its test targets, None where none are recorded."""
    marks: tuple[str, ...]
    """What sets its figures apart, in words."""

    @property
    def is_tested(self) -> bool:
        """Whether the figures of its test targets are there."""
        return "test" in self.figures


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the page: the runs of the same settings, which differ in their seeds."""

    label: str
    runs: tuple[RunFacts, ...]
    style: int
    """Number of its colour and marker."""
    is_chosen: bool = False
    """Whether a sweep chose it."""

    @property
    def model(self) -> str:
        """The kind of model."""
        return str(self.runs[0].figures["model"])

    @property
    def full_label(self) -> str:
        """Its label with the model and what is special, as legends have it."""
        special = [note for note in self.notes if note not in self.label]
        return f"{self.label} ({', '.join(special)})" if special else self.label

    @property
    def short_label(self) -> str:
        """Its label with the model, as legends have it."""
        return self.label if self.model in self.label else f"{self.label} ({self.model})"

    @property
    def notes(self) -> list[str]:
        """The model, and what else a reader must know of the figures."""
        return [self.model, *self.runs[0].marks]

    @property
    def is_tested(self) -> bool:
        """Whether every run has figures of its test targets."""
        return all(run.is_tested for run in self.runs)

    def values(self, part: str, metric: str) -> list[float]:
        """Return a metric of each run, none where a run lacks the part."""
        figures = [(run.figures.get(part) or {}).get(metric) for run in self.runs]
        return [float(value) for value in figures if value is not None]

    def mean(self, part: str, metric: str) -> float | None:
        """Return the mean of a metric over the runs, None where it is not known of all."""
        values = self.values(part, metric)
        return statistics.fmean(values) if len(values) == len(self.runs) else None

    def cold_validation(self) -> float | None:
        """Return the mean HR@10 of cold validation targets, None where a run knows of none."""
        targets = self.values("cold_valid", "targets")
        return self.mean("cold_valid", "hr@10") if targets and all(targets) else None

    def deviation(self, part: str, metric: str) -> float | None:
        """Return the sample's deviation between the runs, None for a single one."""
        values = self.values(part, metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def per_user(self, metric: str, k: int) -> npt.NDArray[np.float64] | None:
        """Return each user's ``hr`` or ``ndcg``, the mean over the runs, ``(users,)``.

        None where a run has recorded no ranks, or not of the same users.
        """
        ranks = [run.ranks for run in self.runs if run.ranks is not None]
        if len(ranks) < len(self.runs):
            return None
        if any(not np.array_equal(one.user_ids, ranks[0].user_ids) for one in ranks):
            return None
        values = [one.hits(k) if metric == "hr" else one.ndcg(k) for one in ranks]
        mean: npt.NDArray[np.float64] = np.mean(values, axis=0)
        return mean


@dataclass(frozen=True, slots=True)
class SweepFacts:
    """A sweep with the validation figures of everything that it tried."""

    path: Path
    name: str
    selection: Mapping[str, Any]
    """Its ``selection.json``."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that a page shows."""

    entries: Sequence[Entry]
    sweeps: Sequence[SweepFacts]

    @property
    def runs(self) -> list[RunFacts]:
        """Every run."""
        return [run for entry in self.entries for run in entry.runs]


def gather(paths: Sequence[Path]) -> Gathered:
    """Read runs and sweeps.

    Of a sweep the runs of the chosen setting are taken, and of no other; a trial
    that was not chosen is shown by validation alone, whatever lies in its folder.

    Raises
    ------
    UsageError
        A run or sweep is not finished, or there is none.
    IncompatibleError
        Runs whose figures cannot stand in one table.
    """
    # The same folder given twice is shown once.
    distinct = list({path.resolve(): path for path in paths}.values())
    names = dict(zip(distinct, _names(distinct), strict=True))
    groups: list[tuple[str, list[RunFacts], bool]] = []
    sweeps: list[SweepFacts] = []
    plain: list[RunFacts] = []
    of_sweeps: set[Path] = set()
    # Sweeps first: a run that one of them chose is shown there, and not twice.
    for path in sorted(distinct, key=lambda one: not (one / SWEEP_FILE).is_file()):
        if path.resolve() in of_sweeps:
            continue
        runs = [_facts(run) for run in finished_runs(path)]
        selection = read_tried(path) if (path / SWEEP_FILE).is_file() else None
        if selection is None:
            plain += [replace(run, name=names[path]) for run in runs]
            continue
        of_sweeps |= {run.folder.path.resolve() for run in runs}
        sweeps.append(SweepFacts(path, names[path], selection))
        groups.append((f"{names[path]}: {point_label(selection['chosen']['point'])}", runs, True))
    groups += [(_common_name(runs), runs, False) for runs in _by_settings(plain)]
    labels = _distinct([label for label, _, _ in groups])
    entries = [
        Entry(label, tuple(runs), number, is_chosen)
        for number, (label, (_, runs, is_chosen)) in enumerate(zip(labels, groups, strict=True))
    ]
    gathered = Gathered(entries, sweeps)
    require_one_protocol({str(run.folder.path): run.figures for run in gathered.runs})
    return gathered


def point_label(point: Mapping[str, Any]) -> str:
    """Return the values of a sweep's point as people read them."""
    parts = [
        f"{name.rpartition('.')[2] if name != 'model.kind' else 'model'}"
        f" {f'{value:.4g}' if isinstance(value, float) else value}"
        for name, value in point.items()
    ]
    return ", ".join(parts) or "base settings"


def _facts(found: FinishedRun) -> RunFacts:
    folder = RunFolder(found.path)
    ranks = None
    if found.has_test and found.has_ranks:
        ranks = read_user_ranks(found.path, "test")
    return RunFacts(
        folder=folder,
        name=found.path.name,
        settings=found.settings,
        figures=found.figures,
        metrics=folder.metrics(),
        environment=read_environment(found.path),
        stores=found.stores,
        ranks=ranks,
        marks=found.marks,
    )


def _by_settings(runs: Sequence[RunFacts]) -> list[list[RunFacts]]:
    """Return runs that differ in nothing but their seeds together, in the order given."""
    groups: list[tuple[bytes, list[RunFacts]]] = []
    for run in runs:
        key = _key(run)
        for other, members in groups:
            is_new = run.settings.seed not in {member.settings.seed for member in members}
            if other == key and is_new:
                members.append(run)
                break
        else:
            groups.append((key, [run]))
    return [members for _, members in groups]


def _key(run: RunFacts) -> bytes:
    settings = run.settings.model_dump(
        mode="json", exclude={"seed": True, "data": {"dataset", "cache"}}
    )
    stores = {
        name: [entry.get("fingerprint"), entry.get("version")] for name, entry in run.stores.items()
    }
    return canonical_bytes([settings, stores, run.is_tested])


def _common_name(runs: Sequence[RunFacts]) -> str:
    if len(runs) == 1:
        return runs[0].name
    # Letters, not parts of a path: seed0 and seed1 have "seed" in common.
    common = os.path.commonprefix([run.name for run in runs])  # noqa: RUF071
    common = common.rstrip("0123456789-_. ")
    common = common.removesuffix("seed").rstrip("-_. ")
    return common or str(runs[0].figures["model"])


def _distinct(labels: Sequence[str]) -> list[str]:
    """Return labels of which each occurs once, later ones with a number."""
    seen: dict[str, int] = {}
    result = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        result.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return result


def _names(paths: Sequence[Path]) -> list[str]:
    """Name every folder after itself.

    Where two share a name, the names are the paths below the folder that all have
    in common.
    """
    resolved = [path.resolve() for path in paths]
    names = [path.name for path in resolved]
    if len(set(names)) == len(names):
        return names
    common = os.path.commonpath([path.parent for path in resolved])
    return [str(path.relative_to(common)) for path in resolved]
