"""The runs that a comparison names, read from their records.

A sweep stands for the runs of the setting that it chose. Test figures are those
of runs that validation chose: a trial that was not chosen is compared on
validation, whatever lies in its folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import UsageError
from crossan.train.record.evaluations import is_evaluation, read_evaluated_settings
from crossan.train.record.reading import (
    RANKS_FILE,
    SWEEP_FILE,
    read_environment,
    read_result,
    read_selection,
    read_settings,
    read_stores,
    read_validation,
)
from crossan.train.record.refits import require_figures
from crossan.train.settings import RunSettings

__all__ = ["FinishedRun", "finished_runs"]


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What a run that has figures recorded of itself."""

    path: Path
    settings: RunSettings
    stores: Mapping[str, Mapping[str, Any]]
    """The stores it read, by modality; empty where it read none."""
    figures: Mapping[str, Any]
    """``result.json``, or ``validation.json`` where test targets may not be looked at."""
    has_ranks: bool
    """Whether it has recorded the rank of every user's targets."""
    marks: tuple[str, ...]
    """What sets its figures apart, in words, such as ``stale contents``."""

    @property
    def has_test(self) -> bool:
        """Whether test figures of the run may be shown."""
        return "test" in self.figures


def finished_runs(path: Path) -> list[FinishedRun]:
    """Return the run in a folder, or the runs of the setting that a sweep chose.

    Parameters
    ----------
    path
        A run folder or a sweep folder.

    Raises
    ------
    UsageError
        There is none, or it is not finished.
    StoreIntegrityError
        A record of it is damaged.
    """
    if (path / SWEEP_FILE).is_file():
        chosen = _chosen(path)
        if not chosen:
            raise UsageError(
                f"{path}: expected a sweep that has chosen a setting, found none chosen",
                remedy="Run the same `crossan sweep` again: it goes on",
            )
        return [_finished(path / run, may_show_test=True) for run in chosen]
    sweep = _sweep_of(path)
    is_chosen = sweep is None or path.resolve().name in {Path(run).name for run in _chosen(sweep)}
    return [_finished(path, may_show_test=is_chosen)]


def _finished(path: Path, *, may_show_test: bool) -> FinishedRun:
    is_of_another = is_evaluation(path)
    settings = read_evaluated_settings(path) if is_of_another else read_settings(path)
    require_figures(path, settings)
    figures = read_result(path) if may_show_test else None
    if figures is None:
        figures = read_validation(path)
    if figures is None:
        raise UsageError(
            f"{path}: expected result.json or validation.json, found neither; the run is not"
            " finished",
            remedy="Run the same `crossan evaluate` again" if is_of_another else _going_on(path),
        )
    return FinishedRun(
        path=path,
        settings=settings,
        stores=read_stores(path),
        figures=figures,
        has_ranks=(path / RANKS_FILE).is_file(),
        marks=tuple(_marks(path, settings, figures)),
    )


def _chosen(sweep: Path) -> list[str]:
    """Return the paths of the chosen setting's runs, relative to the sweep's folder."""
    selection = read_selection(sweep)
    if selection is None or selection["chosen"] is None:
        return []
    return [run["run"] for run in selection["chosen"]["runs"]]


def _sweep_of(path: Path) -> Path | None:
    """Return the folder of the sweep that a run is a trial of, None for a run of its own."""
    above = path.resolve().parent
    is_trial = above.name == "runs" and (above.parent / SWEEP_FILE).is_file()
    return above.parent if is_trial else None


def _going_on(path: Path) -> str:
    """Return the command that finishes a run, which looks at no other targets than it did."""
    if _sweep_of(path) is not None:
        return "Run the same `crossan sweep` again: it finishes its trials"
    is_without_test = "--validation-only" in read_environment(path).get("command", [])
    more = " --validation-only" if is_without_test else ""
    return f"crossan-train --config {path}/config.toml --out {path} --resume{more}"


def _marks(path: Path, settings: RunSettings, figures: Mapping[str, Any]) -> list[str]:
    marks = [
        f"stale contents: {modality} {counts['stale']:,} of {counts['compared']:,}"
        for modality, counts in figures.get("contents", {}).items()
        if counts["stale"]
    ]
    if figures.get("dataset_changed"):
        marks.append("on a dataset that has changed since training")
    if "evaluated" in figures:
        marks.append(f"weights of {figures['evaluated']['run']}, judged again")
    if settings.features.permute_seed is not None or figures.get("permute_features") is not None:
        marks.append("features shuffled")
    if read_environment(path).get("earlier"):
        marks.append("resumed on another spec")
    return marks
