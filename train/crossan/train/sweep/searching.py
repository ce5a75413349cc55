"""A sweep from its settings to ``sweep.json``: try, choose by validation, and only then look at test."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import ConfigError
from crossan.common.console import Progress, note, progress
from crossan.common.datasets import open_dataset
from crossan.common.interrupts import TERMINATED, ToldToEnd, finishing_on
from crossan.train.features.sources import choose_stores, keep_served, lock_entries
from crossan.train.models.item_encoder import require_choice
from crossan.train.settings import ContentSettings, RunSettings, kept_layers
from crossan.train.sweep.choosing import SettingResult, TrialResult, choose, group
from crossan.train.sweep.devices import Slot, device_kind, make_slots, threads_each
from crossan.train.sweep.folder import SweepFolder
from crossan.train.sweep.points import Point, corners, drawn_points, grid_points
from crossan.train.sweep.processes import Order, run_orders
from crossan.train.sweep.proposing import batches, import_optuna, planned_count
from crossan.train.sweep.reporting import selection_report
from crossan.train.sweep.settings import SweepSettings
from crossan.train.sweep.stores_read import StoresRead, stores_to_read
from crossan.train.sweep.test_figures import test_figures
from crossan.train.sweep.trials import Trial, label_of, require_sweepable, trial_settings

__all__ = ["run_sweep"]


def run_sweep(
    asked: SweepSettings, base: RunSettings, out: Path, *, jobs: int | None, should_test: bool
) -> dict[str, Any]:
    """Run a sweep in ``out``, or go on with it, and return its report, which is also in ``sweep.json``.

    Parameters
    ----------
    asked
        The trials wanted.
    base
        Settings that all of them share.
    out
        The sweep folder.
    jobs
        Trials side by side; None for one a CUDA device, or one on the CPU.
    should_test
        Whether the chosen setting is judged on test in the end.

    Raises
    ------
    CrossanError
        A setting, the dataset or the cache is not fit to begin with, or the folder is not ours; or trials read
        different stores.
    """
    base, folder = base.anywhere(), SweepFolder(out)
    sweep = _settled(asked, folder.recorded(), jobs)
    found = _require_trainable(_checked_settings(sweep, base), base)
    slots = make_slots(str(sweep.device), jobs, sweep.threads)
    with (
        folder.claimed(sweep, base),
        finishing_on(signal.SIGTERM, signal.SIGINT, work="checkpoints of the trials") as told,
    ):
        search = _Search(sweep, base, found, folder, slots, told)
        search.run()
        report = None if told.is_set() else _conclude(search, slots, told, should_test=should_test)
    if report is None:
        note("told to end: what was finished is kept, and the same command goes on")
        if told.number is signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)
    return report


def _conclude(
    search: _Search, slots: Sequence[Slot], told: ToldToEnd, *, should_test: bool
) -> dict[str, Any] | None:
    """Choose and write that down; then, and not before, judge the chosen setting on test."""
    settings = search.finished_settings()
    chosen = choose(settings) if settings else None
    report = selection_report(search.sweep, settings, chosen, search.failures())
    search.folder.write("selection.json", report)
    report["sweep"], report["test"] = str(search.folder.path), None
    if chosen is not None and should_test:
        report["test"] = test_figures(chosen, search.folder, slots, told)
        if report["test"] is None:
            return None
    search.folder.write("sweep.json", report)
    return report


class _Search:
    """One call of `run_sweep`: the points so far and what came of their trials."""

    def __init__(
        self,
        sweep: SweepSettings,
        base: RunSettings,
        found: Mapping[str, Mapping[str, Any]],
        folder: SweepFolder,
        slots: Sequence[Slot],
        told: ToldToEnd,
    ) -> None:
        self.sweep, self.folder = sweep, folder
        self._base, self._found, self._slots, self._told = base, found, slots, told
        self._read = StoresRead()
        self._points: list[Point] = []
        self._best: tuple[float, str] | None = None

    def run(self) -> None:
        """Run every trial that is not finished, until told to end."""
        planned = planned_count(self.sweep) * len(self.sweep.seeds)
        finished = len(list(self.folder.path.glob("runs/*/validation.json")))
        note(
            f"{planned:,} trials, {finished:,} of them finished before; {len(self._slots)} at a time"
        )
        with progress("sweep", max(planned - finished, 0), "trials") as shown:
            for points in batches(self.sweep, self._score):
                self._points += points
                self.folder.record_points(self._points)
                self._run_trials(self._trials(points), shown)
                if self._told.is_set():
                    return

    def finished_settings(self) -> list[SettingResult]:
        """Return the points all of whose seeds are finished."""
        found = [
            result
            for trial in self._trials(self._points)
            if (result := self.folder.result(trial)) is not None
        ]
        return group(found, self._points, self.sweep.seeds)

    def failures(self) -> list[dict[str, Any]]:
        """Return what `selection_report` says of every trial that failed."""
        return [
            {
                "run": trial.place,
                "point": dict(trial.point),
                "seed": trial.seed,
                "exit_code": failure.exit_code,
                "reason": failure.reason,
            }
            for trial in self._trials(self._points)
            if (failure := self.folder.failure(trial)) is not None
        ]

    def _trials(self, points: Sequence[Point]) -> list[Trial]:
        """Return the trials of some points; those of a point that was drawn twice once."""
        trials = (Trial(point, seed) for point in points for seed in self.sweep.seeds)
        return list({trial.name: trial for trial in trials}.values())

    def _score(self, point: Point) -> float | None:
        settings = group(
            [r for trial in self._trials([point]) if (r := self.folder.result(trial)) is not None],
            [point],
            self.sweep.seeds,
        )
        return settings[0].mean("hr@10") if settings else None

    def _run_trials(self, trials: Sequence[Trial], shown: Progress) -> None:
        by_name = {trial.name: trial for trial in trials}

        def note_end(order: Order, exit_code: int, reason: str) -> None:
            if not self._told.is_set() or exit_code == 0:
                self._note_end(by_name[order.name], exit_code, reason)
                shown.advance(1)

        def note_look(running: int) -> None:
            self.folder.refresh()
            shown.advance(0, ", ".join([f"{running} running", *self._best_so_far()]))

        left = [trial for trial in trials if self._is_left(trial)]
        for trial in left:
            self._require_stores_unchanged(trial)
        run_orders(
            [self._order(trial) for trial in left], self._slots, self._told, note_end, note_look
        )

    def _is_left(self, trial: Trial) -> bool:
        """Whether a trial is to be run; it is started only if its settings fit together."""
        result, failure = self.folder.result(trial), self.folder.failure(trial)
        if result is not None:
            self.folder.forget_failure(
                trial
            )  # its process ended badly after the figures were written
            self._note_result(result)
            return False
        if failure is not None and failure.is_final:
            return False
        self.folder.forget_failure(trial)
        try:
            trial_settings(self._base, trial)
        except (
            ConfigError
        ) as error:  # a proposal of optuna: everything else was checked at the start
            self._note_end(trial, None, str(error))
            return False
        return True

    def _require_stores_unchanged(self, trial: Trial) -> None:
        """Refuse a trial that will not read what the finished ones have read, before it costs its time."""
        locked = self.folder.locked(trial)
        if locked is not None:
            self._read.add(trial.place, trial.point, locked)
        else:
            stores = stores_to_read(trial_settings(self._base, trial), trial.point, self._found)
            self._read.add("the cache as it is now", trial.point, stores)

    def _order(self, trial: Trial) -> Order:
        return Order(
            trial.name, (*self.folder.arguments(trial), "--validation-only"), self.folder.log(trial)
        )

    def _note_end(self, trial: Trial, exit_code: int | None, reason: str) -> None:
        what = f"{label_of(trial.point)}, seed {trial.seed}"
        result = self.folder.result(
            trial
        )  # whole where it is there, however the process ended after writing it
        if result is None:
            failure = self.folder.write_failure(trial, exit_code, reason)
            note(f"failed: {what}: {failure.reason}")
            return
        self._note_result(result)
        note(f"done: {what}: valid hr@10 {result.valid['hr@10']:.4f} at epoch {result.best_epoch}")

    def _note_result(self, result: TrialResult) -> None:
        trial, hit_ratio = result.trial, result.valid["hr@10"]
        self._read.add(trial.place, trial.point, result.stores)
        if self._best is None or hit_ratio > self._best[0]:
            self._best = hit_ratio, label_of(trial.point)

    def _best_so_far(self) -> list[str]:
        return (
            []
            if self._best is None
            else [f"best valid hr@10 {self._best[0]:.4f} by {self._best[1]}"]
        )


def _settled(
    asked: SweepSettings, recorded: SweepSettings | None, jobs: int | None
) -> SweepSettings:
    """Fill in what was left open: as it was when the sweep was begun, else by what there is here."""
    open_names = [name for name in ("device", "threads", "at_once") if getattr(asked, name) is None]
    if recorded is not None:
        return asked.model_copy(update={name: getattr(recorded, name) for name in open_names})
    kind = asked.device or device_kind("auto")
    count = len(make_slots(kind, jobs, asked.threads))
    at_once = -(-count // len(asked.seeds)) if asked.sampler == "optuna" else None
    found = {"device": kind, "threads": threads_each(count), "at_once": at_once}
    return asked.model_copy(update={name: found[name] for name in open_names})


def _checked_settings(sweep: SweepSettings, base: RunSettings) -> list[RunSettings]:
    """Refuse a name or value that is wrong before anything starts; return the settings known so far."""
    if sweep.sampler == "optuna":
        import_optuna()
    for name in (*sweep.grid, *sweep.range):
        require_sweepable(name)
    known = {"grid": grid_points, "random": drawn_points}
    points = known[sweep.sampler](sweep) if sweep.sampler in known else list(corners(sweep))
    for seed in sweep.seeds:
        trial_settings(base, Trial({}, seed))
    return [trial_settings(base, Trial(point, sweep.seeds[0])) for point in points]


def _require_trainable(
    settings: Sequence[RunSettings], base: RunSettings
) -> dict[str, dict[str, Any]]:
    """Refuse what every trial would stop at: no dataset, no store, items that cannot be served, too few modalities.

    Returns the stores there are, as `lock_entries` describes them; none where no trial reads any.
    """
    dataset = open_dataset(base.data.dataset)
    contents = [one for one in settings if one.model.reads_hidden_states]
    stores = choose_stores(base.data, dataset) if contents else {}
    # For its errors: nothing of what it returns is looked at.
    keep_served(dataset, stores, base.data)
    for one in contents:
        if isinstance(one.model, ContentSettings):
            require_choice(one.model, len(one.data.modality or stores))
    return lock_entries(stores, kept_layers(base.model))
