"""What a comparison finds: means and spreads of every row, and how rows differ from one.

Differences are taken over users. Where a row has several seeds, a user's number
is the mean over its seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import UsageError
from crossan.train.comparison.rows import Row
from crossan.train.comparison.statistics import Paired, bootstrap_interval, holm, paired
from crossan.train.comparison.users import METRICS, PerUserMetrics, per_user_metrics
from crossan.train.record.one_protocol import require_one_protocol
from crossan.train.record.user_ranks import Part

__all__ = ["Cell", "ComparedRow", "Comparison", "Difference", "Spread", "compare_rows", "part_of"]


@dataclass(frozen=True, slots=True)
class Spread:
    """A number over the seeds of a row."""

    mean: float
    sd: float | None
    """Standard deviation of the sample, None for one seed."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of a number for each seed."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True, slots=True)
class Difference:
    """How a metric of a row differs from the baseline's."""

    paired: Paired
    t_p_holm: float | None
    """The p-value of the t-test, adjusted by Holm for all rows that are compared."""
    wilcoxon_p_holm: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One metric of one row."""

    spread: Spread
    interval: tuple[float, float] | None
    """Bootstrap interval over users, None where no ranks are recorded."""
    is_best: bool = False
    """Whether no row has a higher mean."""
    is_significant: bool = False
    """Whether it is best, and better than the best other row by a paired t-test."""
    difference: Difference | None = None
    """None for the baseline, and where no ranks are recorded."""


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One row with all that a table shows of it."""

    row: Row
    cells: Mapping[str, Cell]
    """By metric."""
    cold: Mapping[str, Spread] | None
    """HR@10 and NDCG@10 of cold targets; None where there are none, or none are recorded."""
    epochs: float
    """Mean over the seeds, like the next."""
    seconds_per_epoch: float
    marks: tuple[str, ...]
    """What sets its figures apart."""

    @property
    def trainable_parameters(self) -> int:
        """How many parameters were trained, the same for every seed."""
        return int(self.row.runs[0].figures["trainable_parameters"])


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows, and what they were ranked on."""

    part: Part
    rows: tuple[ComparedRow, ...]
    baseline: str
    level: float
    """Of intervals; what is left to 1 is the level of significance."""
    seed: int
    users: int
    items: int
    targets: int
    cold_targets: int | None
    """Targets that no user had in training; None where no run recorded it for this part."""
    unwinnable_targets: int | None
    """Targets that their users' histories mask; None on validation."""
    split: str
    split_seed: int | None
    mask_history: str
    notes: tuple[str, ...]
    """What a reader must know beside the figures."""


def part_of(rows: Sequence[Row], wanted: Part | None) -> tuple[Part, list[str]]:
    """Return the part that rows are compared on, and notes that say why.

    It is ``test`` where test figures of all runs may be shown, else ``valid``.

    Raises
    ------
    UsageError
        ``test`` is wanted, and a run has no test figures to show.
    """
    unseen = [str(run.path) for row in rows for run in row.runs if not run.has_test]
    if wanted == "test" and unseen:
        raise UsageError(
            f"--part test: expected test figures of runs that validation chose, found none to show"
            f" of {unseen[0]}{_and_more(unseen)}",
            remedy="--part valid",
        )
    if wanted is not None or not unseen:
        return wanted or "test", []
    return "valid", [
        f"compared on validation: no test figures may be shown of {unseen[0]}{_and_more(unseen)}"
    ]


def compare_rows(
    rows: Sequence[Row],
    part: Part,
    baseline: Row,
    *,
    level: float = 0.95,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Comparison:
    """Return how rows compare on a part.

    Parameters
    ----------
    rows
        At least one.
    part
        Which held-out items the figures are of.
    baseline
        The row that differences are taken from.
    level
        Level of the intervals; a difference is called significant at 1 - level.
    seed
        Seed of the bootstrap.
    notes
        What a reader must know, such as why the part was chosen.

    Raises
    ------
    IncompatibleError
        The rows were not evaluated under one protocol, or rank other users.
    StoreIntegrityError
        A record of a run is damaged, or its ranks do not give its figures.
    """
    require_one_protocol({str(run.path): run.figures for row in rows for run in row.runs})
    measured = per_user_metrics(rows, part)
    said = list(notes)
    if measured is None:
        without = [row.name for row in rows if not all(run.has_ranks for run in row.runs)]
        said.append(
            f"no test of differences: the ranks of single users are not recorded by"
            f" {without[0]}{_and_more(without)}"
        )
    cells = {
        metric: _cells_of(metric, rows, part, baseline, measured, level=level, seed=seed)
        for metric in METRICS
    }
    figures = rows[0].runs[0].figures
    users = int(figures["users"])
    cold = None if measured is None else measured.cold_targets
    recorded = figures.get(f"cold_{part}")
    if cold is None and recorded is not None:
        cold = int(recorded["targets"])
    return Comparison(
        part=part,
        rows=tuple(
            _compared(row, {metric: cells[metric][index] for metric in METRICS}, part)
            for index, row in enumerate(rows)
        ),
        baseline=baseline.name,
        level=level,
        seed=seed,
        users=users,
        items=int(figures["items"]),
        targets=users if measured is None else measured.targets,
        cold_targets=cold,
        unwinnable_targets=int(figures["unwinnable_test_targets"]) if part == "test" else None,
        split=str(figures.get("split", "leave-last-out")),
        split_seed=figures.get("split_seed"),
        mask_history=str(figures["mask_history"]),
        notes=tuple(said),
    )


def _cells_of(
    metric: str,
    rows: Sequence[Row],
    part: Part,
    baseline: Row,
    measured: PerUserMetrics | None,
    *,
    level: float,
    seed: int,
) -> list[Cell]:
    """Return the cells of one metric, one for each row."""
    spreads = [Spread.of([run.figures[part][metric] for run in row.runs]) for row in rows]
    means = [spread.mean for spread in spreads]
    best = [len(rows) > 1 and mean == max(means) for mean in means]
    if measured is None:
        return [Cell(spread, None, is_best) for spread, is_best in zip(spreads, best, strict=True)]
    values = [measured.values[row.name][metric] for row in rows]
    cells = [
        Cell(spread, bootstrap_interval(of_row, seed=seed, level=level), is_best)
        for spread, of_row, is_best in zip(spreads, values, best, strict=True)
    ]
    if len(rows) > 1:
        winner = means.index(max(means))
        is_ahead = _is_ahead(values, means, winner, alpha=1 - level)
        cells[winner] = replace(cells[winner], is_significant=is_ahead)
    base = rows.index(baseline)
    differences = _differences(values, base, level=level, seed=seed)
    return [replace(cell, difference=differences.get(index)) for index, cell in enumerate(cells)]


def _is_ahead(
    values: Sequence[npt.NDArray[np.float64]], means: Sequence[float], winner: int, *, alpha: float
) -> bool:
    """Whether the best row is better than the best of the others, as the paper's stars say."""
    others = [index for index in range(len(means)) if index != winner]
    second = max(others, key=lambda index: means[index])
    against = paired(values[winner], values[second])
    return against.difference > 0 and against.t_p is not None and against.t_p < alpha


def _differences(
    values: Sequence[npt.NDArray[np.float64]], base: int, *, level: float, seed: int
) -> dict[int, Difference]:
    """Return how each row but the baseline differs from it, by the number of the row."""
    others = [index for index in range(len(values)) if index != base]
    tests = [paired(values[index], values[base], seed=seed, level=level) for index in others]
    # One user is too few for a t-test, and then so it is for every row.
    t_holm: Sequence[float | None] = [None] * len(tests)
    t_values = [test.t_p for test in tests if test.t_p is not None]
    if len(t_values) == len(tests):
        t_holm = holm(t_values)
    wilcoxon_holm = holm([test.wilcoxon_p for test in tests])
    return {
        index: Difference(test, t_p, wilcoxon_p)
        for index, test, t_p, wilcoxon_p in zip(others, tests, t_holm, wilcoxon_holm, strict=True)
    }


def _compared(row: Row, cells: Mapping[str, Cell], part: Part) -> ComparedRow:
    figures = [run.figures for run in row.runs]
    # Of validation targets older runs did not record it, nor does one that is not yet finished.
    recorded = [of_run[f"cold_{part}"] for of_run in figures if of_run.get(f"cold_{part}")]
    cold = None
    if len(recorded) == len(figures) and recorded[0]["targets"]:
        cold = {
            name: Spread.of([of_run[name] for of_run in recorded]) for name in ("hr@10", "ndcg@10")
        }
    return ComparedRow(
        row=row,
        cells=cells,
        cold=cold,
        epochs=statistics.fmean(of_run["epochs"] for of_run in figures),
        seconds_per_epoch=statistics.fmean(of_run["seconds_per_epoch"] for of_run in figures),
        marks=tuple(dict.fromkeys(mark for run in row.runs for mark in run.marks)),
    )


def _and_more(names: Sequence[str]) -> str:
    return "" if len(names) == 1 else f" and {len(names) - 1} more"
