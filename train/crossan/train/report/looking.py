"""What the models do inside: gates, what ``crossan analyse`` measures, and items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossan.cache_schema.errors import CrossanError
from crossan.common.console import note
from crossan.train.layers.tower import read_gate_weights
from crossan.train.record.analysis import read_analysis
from crossan.train.report.blocks import Note, Section
from crossan.train.report.gates import GateWeights, gates_section
from crossan.train.report.gathering import Entry, RunFacts
from crossan.train.report.items import items_section
from crossan.train.report.measured import Analysed, efficiency_section, inside_section
from crossan.train.runs.analysing import analyse_run
from crossan.train.runs.opening import OpenedRun, open_run
from crossan.train.settings import gate_temperature
from crossan.train.settings.tower import tower_of

__all__ = ["Sources", "look_inside"]


class Sources:
    """The runs with their data, opened one at a time.

    Parameters
    ----------
    dataset, cache
        Where the user says that the data lie now.
    should_compute
        Whether to look at them at all.
    """

    def __init__(self, dataset: Path | None, cache: Path | None, should_compute: bool) -> None:
        self.should_compute = should_compute
        self._dataset, self._cache = dataset, cache
        self._latest: OpenedRun | None = None

    def open(self, run: RunFacts) -> OpenedRun:
        """Return a run with everything that it reads.

        Raises
        ------
        CrossanError
            Its data are not at hand, or are others.
        """
        latest = self._latest
        if latest is None or latest.folder.path != run.folder.path:
            # Before the next is loaded: two at once may not fit.
            self._latest = None
            latest = open_run(
                run.folder.path, dataset=self._dataset, cache=self._cache, may_be_stale=True
            )
            self._latest = latest
        return latest


def look_inside(entries: Sequence[Entry], sources: Sources) -> Iterator[Section | None]:
    """Yield the sections that need weights, and those that need the data, too."""
    yield gates_section([weights for entry in entries for weights in _gates(entry)])
    analysed, notes = [], []
    for entry in entries:
        analysis = _analysis(entry.runs[0], sources)
        if isinstance(analysis, Note):
            notes.append(analysis)
        else:
            analysed.append(Analysed(entry, analysis))
    yield inside_section(analysed, notes)
    yield efficiency_section(entries)
    yield _items(entries, sources)


def _analysis(run: RunFacts, sources: Sources) -> Mapping[str, Any] | Note:
    """Return what ``crossan analyse`` says of a run, or why it is not known."""
    try:
        recorded = read_analysis(run.folder.path)
        if recorded is not None:
            return recorded
        command = f"crossan analyse {run.folder.path}"
        if not sources.should_compute:
            return Note(f"{run.name} was not analysed:", command)
        return analyse_run(sources.open(run))
    except CrossanError as error:
        return Note(f"{run.name} was not analysed: {_first_line(error)}", error.remedy or "")


def _first_line(error: CrossanError) -> str:
    return error.message.partition("\n")[0]


def _gates(entry: Entry) -> list[GateWeights]:
    """Return the weights of an entry's gates, the mean over its runs, none without gates."""
    weights = [of_run for run in entry.runs if (of_run := _run_gates(run)) is not None]
    if len(weights) < len(entry.runs) or len({one.shape for one in weights}) > 1:
        return []
    modalities = [tower_of(name) for name in entry.runs[0].stores]
    mean = torch.stack(weights).mean(dim=0)
    if mean.ndim != 3 or len(modalities) != len(mean) or mean.shape[2] != len(mean) + 1:
        return []  # a model of another package, whose gates mean something else
    return [GateWeights(entry, modalities, mean.tolist())]


def _run_gates(run: RunFacts) -> Tensor | None:
    try:
        weights = run.folder.best_checkpoint().tensors["model"]
    except CrossanError as error:
        note(f"no gates of {run.name}: {_first_line(error)}")
        return None
    return read_gate_weights(weights, gate_temperature(run.settings.model))


def _items(entries: Sequence[Entry], sources: Sources) -> Section | None:
    tested = [entry for entry in entries if entry.is_tested]
    if not tested:
        return None
    # By validation, which alone may choose.
    entry = max(tested, key=lambda one: one.mean("valid", "hr@10") or 0.0)
    run = entry.runs[0]
    remark = Note("Not looked at: the page was made with --quick.")
    if run.ranks is None:
        remark = Note(f"Not shown: {run.name} has recorded no ranks of its users.")
    elif sources.should_compute:
        try:
            return items_section(sources.open(run), run.ranks, entry.full_label)
        except CrossanError as error:
            remark = Note(f"Not shown: {_first_line(error)}", error.remedy or "")
    return Section("items", "Items", [remark])
