"""A sweep from its settings to ``sweep.json``.

It tries settings, chooses one by validation, and only then looks at test.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import ConfigError
from crossan.common.console import Progress, note, progress
from crossan.common.interrupts import ToldToEnd, end_by, finishing_on
from crossan.train.settings import RunSettings
from crossan.train.sweep.choosing import SettingResult, TrialResult, choose, group
from crossan.train.sweep.devices import Slot, device_kind, make_slots, threads_each
from crossan.train.sweep.folder import COMPARED_FILE, SweepFolder
from crossan.train.sweep.inputs import SweepInputs, require_trainable
from crossan.train.sweep.judging import judge_on_test
from crossan.train.sweep.points import Point, corners, drawn_points, grid_points
from crossan.train.sweep.processes import TrialCommand, run_commands
from crossan.train.sweep.proposing import batches, import_optuna, planned_count
from crossan.train.sweep.reporting import selection_report
from crossan.train.sweep.settings import SweepSettings
from crossan.train.sweep.stores_read import StoresRead, stores_to_read
from crossan.train.sweep.trials import Trial, label_of, require_sweepable, trial_settings
from crossan.train.sweep.unread import settle_unread

__all__ = ["run_sweep"]


def run_sweep(
    requested: SweepSettings,
    base: RunSettings,
    out: Path,
    *,
    jobs: int | None,
    should_test: bool,
    may_be_stale: bool = False,
) -> dict[str, Any]:
    """Start or resume the sweep in ``out`` and return its report, which is ``sweep.json`` too.

    Parameters
    ----------
    requested
        Which trials to run.
    base
        Settings that all trials share.
    out
        The sweep folder.
    jobs
        Trials to run side by side. None means one per CUDA device, or one on
        the CPU.
    should_test
        Whether the chosen setting is judged on test in the end.
    may_be_stale
        Whether items may have other contents than those that the stores were made from.

    Raises
    ------
    CrossanError
        A setting, the dataset, the cache or the folder does not allow the sweep
        to start, or trials read different stores.
    """
    base, folder = base.anywhere(), SweepFolder(out, may_be_stale=may_be_stale)
    sweep = _resolved(requested, folder.recorded(), jobs)
    inputs = require_trainable(_checked_settings(sweep, base), base, may_be_stale=may_be_stale)
    slots = make_slots(str(sweep.device), jobs, sweep.threads)
    with (
        folder.claimed(sweep, base),
        finishing_on(signal.SIGTERM, signal.SIGINT, work="checkpoints of the trials") as interrupt,
    ):
        inputs.write_comparison(folder.path / COMPARED_FILE)
        search = _Search(sweep, base, inputs, folder, slots, interrupt)
        search.run()
        report = None
        if not interrupt.is_set():
            report = _conclude(search, slots, interrupt, should_test=should_test)
    if report is None:
        note("told to end: what was finished is kept, and the same command goes on")
        end_by(interrupt.number)
    return report


def _conclude(
    search: _Search, slots: Sequence[Slot], interrupt: ToldToEnd, *, should_test: bool
) -> dict[str, Any] | None:
    """Choose a setting, and then judge it on test."""
    settings = search.finished_settings()
    chosen = choose(settings) if settings else None
    report = selection_report(search.sweep, settings, chosen, search.failures(), search.contents)
    report |= search.split.facts()
    # Written before anybody looks at test targets: the choice cannot be revised by them.
    search.folder.write("selection.json", report)
    report |= {"sweep": str(search.folder.path), "test": None, "cold_test": None}
    if chosen is not None and should_test:
        judged = judge_on_test(chosen, search.folder, slots, interrupt)
        if judged is None:
            return None
        report |= judged
    search.folder.write("sweep.json", report)
    return report


class _Search:
    """The points of one call of `run_sweep`, and what came of their trials."""

    def __init__(
        self,
        sweep: SweepSettings,
        base: RunSettings,
        inputs: SweepInputs,
        folder: SweepFolder,
        slots: Sequence[Slot],
        interrupt: ToldToEnd,
    ) -> None:
        self.sweep, self.folder = sweep, folder
        self.contents, self.split = inputs.contents(), base.data.parted_by
        self._base, self._base_stores = base, inputs.entries(base)
        self._slots, self._interrupt = slots, interrupt
        self._read = StoresRead()
        self._points: list[Point] = []
        self._best: tuple[float, str] | None = None

    def run(self) -> None:
        """Run every trial that is not finished, until the sweep is interrupted."""
        planned = planned_count(self.sweep) * len(self.sweep.seeds)
        finished = len(list(self.folder.path.glob("runs/*/validation.json")))
        note(
            f"{planned:,} trials, {finished:,} of them finished before;"
            f" {len(self._slots)} at a time"
        )
        with progress("sweep", max(planned - finished, 0), "trials") as shown:
            for points in batches(self.sweep, self._score):
                self._points += points
                self.folder.record_points(self._points)
                self._run_trials(self._trials(points), shown)
                if self._interrupt.is_set():
                    return

    def finished_settings(self) -> list[SettingResult]:
        """Return the points whose seeds are all finished."""
        return self._grouped(self._points)

    def failures(self) -> list[dict[str, Any]]:
        """Return the entry of every failed trial in `selection_report`."""
        failures = []
        for trial in self._trials(self._points):
            failure = self.folder.failure(trial)
            if failure is not None:
                failures.append(
                    {
                        "run": trial.run_path,
                        "point": dict(trial.point),
                        "seed": trial.seed,
                        "exit_code": failure.exit_code,
                        "reason": failure.reason,
                    }
                )
        return failures

    def _trials(self, points: Sequence[Point]) -> list[Trial]:
        """Return the trials of some points, without repeats of a point that was drawn twice."""
        trials = (Trial(point, seed) for point in points for seed in self.sweep.seeds)
        return list({trial.name: trial for trial in trials}.values())

    def _grouped(self, points: Sequence[Point]) -> list[SettingResult]:
        results = [self.folder.result(trial) for trial in self._trials(points)]
        finished = [result for result in results if result is not None]
        return group(finished, points, self.sweep.seeds)

    def _score(self, point: Point) -> float | None:
        settings = self._grouped([point])
        return settings[0].mean("hr@10") if settings else None

    def _run_trials(self, trials: Sequence[Trial], shown: Progress) -> None:
        by_name = {trial.name: trial for trial in trials}

        def note_end(command: TrialCommand, exit_code: int, reason: str) -> None:
            # A trial that was interrupted with the sweep has not failed.
            if not self._interrupt.is_set() or exit_code == 0:
                self._note_end(by_name[command.name], exit_code, reason)
                shown.advance(1)

        def note_look(running: int) -> None:
            self.folder.refresh()
            status = f"{running} running"
            if self._best is not None:
                hit_ratio, label = self._best
                status += f", best valid hr@10 {hit_ratio:.4f} by {label}"
            shown.advance(0, status)

        left = [trial for trial in trials if self._is_left(trial)]
        for trial in left:
            self._require_stores_unchanged(trial)
        commands = [self._command(trial) for trial in left]
        run_commands(commands, self._slots, self._interrupt, note_end, note_look)

    def _is_left(self, trial: Trial) -> bool:
        """Whether a trial has to be run and its settings fit together."""
        result, failure = self.folder.result(trial), self.folder.failure(trial)
        if result is not None:
            # There may be a failure all the same, where the process ended badly after its result.
            self.folder.forget_failure(trial)
            self._note_result(result)
            return False
        if failure is not None and failure.is_final:
            return False
        self.folder.forget_failure(trial)
        try:
            trial_settings(self._base, trial)
        except ConfigError as error:
            # A proposal of optuna: all other points were checked before the sweep started.
            self._note_end(trial, None, str(error))
            return False
        return True

    def _require_stores_unchanged(self, trial: Trial) -> None:
        """Refuse a trial that would read other stores than the finished ones did.

        It is refused now, before it takes its time.
        """
        locked = self.folder.locked(trial)
        if locked is not None:
            self._read.add(trial.run_path, trial.point, locked)
        else:
            settings = trial_settings(self._base, trial)
            stores = stores_to_read(settings, trial.point, self._base_stores)
            self._read.add("the cache as it is now", trial.point, stores)

    def _command(self, trial: Trial) -> TrialCommand:
        arguments = (*self.folder.arguments(trial), "--validation-only")
        return TrialCommand(trial.name, arguments, self.folder.log(trial))

    def _note_end(self, trial: Trial, exit_code: int | None, reason: str) -> None:
        label = f"{label_of(trial.point)}, seed {trial.seed}"
        # A result file is always whole, however the process ended after writing it.
        result = self.folder.result(trial)
        if result is None:
            failure = self.folder.write_failure(trial, exit_code, reason)
            note(f"failed: {label}: {failure.reason}")
            return
        self._note_result(result)
        note(f"done: {label}: valid hr@10 {result.valid['hr@10']:.4f} at epoch {result.best_epoch}")

    def _note_result(self, result: TrialResult) -> None:
        trial, hit_ratio = result.trial, result.valid["hr@10"]
        self._read.add(trial.run_path, trial.point, result.stores)
        if self._best is None or hit_ratio > self._best[0]:
            self._best = hit_ratio, label_of(trial.point)


def _resolved(
    requested: SweepSettings, recorded: SweepSettings | None, jobs: int | None
) -> SweepSettings:
    """Fill in the settings that were not given.

    A resumed sweep takes them from its folder, a new one from this machine.
    """
    missing = [n for n in ("device", "threads", "at_once") if getattr(requested, n) is None]
    if recorded is not None:
        return requested.model_copy(update={name: getattr(recorded, name) for name in missing})
    kind = requested.device or device_kind("auto")
    count = len(make_slots(kind, jobs, requested.threads))
    # As many points as keep all slots busy, each with a trial for every seed.
    at_once = -(-count // len(requested.seeds)) if requested.sampler == "optuna" else None
    defaults = {"device": kind, "threads": threads_each(count), "at_once": at_once}
    return requested.model_copy(update={name: defaults[name] for name in missing})


def _checked_settings(sweep: SweepSettings, base: RunSettings) -> list[RunSettings]:
    """Return the settings of the trials that are known before the sweep starts.

    A wrong name or value is refused here, before anything runs.
    """
    if sweep.sampler == "optuna":
        import_optuna()
    for name in (*sweep.grid, *sweep.range):
        require_sweepable(name)
    if sweep.sampler == "grid":
        points = grid_points(sweep)
    elif sweep.sampler == "random":
        points = drawn_points(sweep)
    else:
        # optuna's points are not known yet, but every one of them lies between these.
        points = list(corners(sweep))
    for seed in sweep.seeds:
        trial_settings(base, Trial({}, seed))
    trials = [trial_settings(base, Trial(point, sweep.seeds[0])) for point in points]
    # Few random points may all miss the value of one axis by which another is read.
    settle_unread((*sweep.grid, *sweep.range), trials, may_refuse=sweep.sampler != "random")
    return trials
