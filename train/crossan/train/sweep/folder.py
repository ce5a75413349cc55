"""The sweep folder, with the sweep's settings, every trial and the choice."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.canonical import pretty_bytes
from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.common.claim import OWNER_FILE, claim, refresh, release
from crossan.common.config import Settings, load_settings, settings_differences, to_toml
from crossan.common.files import remove_durably, replace_durably
from crossan.common.refusals import make_folder, require_no_file
from crossan.common.stores.pins import LOCK_FILE
from crossan.train.record.run_folder import SWEEP_FILE, RunFolder
from crossan.train.record.shapes import read_record
from crossan.train.record.tried import Failure, Points
from crossan.train.settings import RunSettings
from crossan.train.sweep.choosing import TrialResult
from crossan.train.sweep.points import Point
from crossan.train.sweep.settings import SweepSettings
from crossan.train.sweep.trials import Trial

__all__ = ["COMPARED_FILE", "SweepFolder", "TrialFailure"]

COMPARED_FILE = "contents.json"
"""How the contents of the items compare with the stores of the base settings."""
_BASE, _POINTS = "config.toml", "points.json"
_SECONDS_BETWEEN_REFRESHES = 60.0


@dataclass(frozen=True, slots=True)
class TrialFailure:
    """Why a trial has no metrics."""

    exit_code: int | None
    """None where its settings did not fit together, so that it was never started."""
    reason: str
    is_final: bool
    """Whether the trial would fail again.

    That is so where it diverged or its settings do not fit together. Anything
    else is tried again by the next command.
    """


class SweepFolder:
    """The folder of one sweep, in which every file is written whole.

    Parameters
    ----------
    path
        The folder.
    may_be_stale
        Whether trials may read items that are stale in their stores.
    """

    def __init__(self, path: Path, *, may_be_stale: bool = False) -> None:
        self.path = path
        # A setting that another trial reads: what none reads is refused before the sweep.
        self._flags = ("--allow-unread", *(("--allow-stale",) if may_be_stale else ()))
        self._refreshed_at = time.monotonic()

    def recorded(self) -> SweepSettings | None:
        """Return the settings of the sweep in this folder, or None."""
        path = self.path / SWEEP_FILE
        if not path.is_file():
            return None
        return load_settings(SweepSettings, files=[path], environment={})

    @contextmanager
    def claimed(self, sweep: SweepSettings, base: RunSettings) -> Iterator[None]:
        """Hold the folder for a new sweep, or for the one that it already has.

        Raises
        ------
        UsageError
            The folder has another sweep, or other files.
        BusyError
            Another process sweeps in it.
        """
        recorded = self.recorded()
        if recorded is not None:
            recorded_base = load_settings(RunSettings, files=[self.path / _BASE], environment={})
            self._require_same([(recorded, sweep), (recorded_base, base)])
        elif self.path.exists() and not self._is_vacant():
            require_no_file(self.path, f"--out {self.path}")
            raise UsageError(
                f"--out {self.path}: expected an empty folder or a sweep, found other files",
                remedy=f"Choose another: --out {self.path}-2",
            )
        make_folder(self.path)
        claim(self.path, "sweeps")
        try:
            # In this order: a folder with a sweep.toml counts as a sweep, and needs the other file.
            replace_durably(self.path / _BASE, to_toml(base).encode())
            replace_durably(self.path / SWEEP_FILE, to_toml(sweep).encode())
            yield
        finally:
            release(self.path)

    def refresh(self) -> None:
        """Show other hosts that the sweep is running, at most once a minute."""
        now = time.monotonic()
        if now - self._refreshed_at >= _SECONDS_BETWEEN_REFRESHES:
            self._refreshed_at = now
            refresh(self.path)

    def arguments(self, trial: Trial) -> tuple[str, ...]:
        """Return the arguments with which ``crossan-train`` starts or resumes a trial."""
        config, out = str(self.path / _BASE), str(self.path / trial.run_path)
        flags = ("--compared", str(self.path / COMPARED_FILE), *self._flags)
        return ("--config", config, *trial.assignments(), "--out", out, "--resume", *flags)

    def log(self, trial: Trial) -> Path:
        """Return the file that keeps a trial's output."""
        return self.path / "logs" / f"{trial.name}.log"

    def run(self, trial: Trial) -> RunFolder:
        """Return the run folder of a trial."""
        return RunFolder(self.path / trial.run_path)

    def result(self, trial: Trial) -> TrialResult | None:
        """Return the result of a trial, or None before it is finished."""
        run = self.run(trial)
        metrics = run.validation()
        return None if metrics is None else TrialResult.read(trial, metrics, run.lock()["stores"])

    def locked(self, trial: Trial) -> dict[str, dict[str, Any]] | None:
        """Return the stores that a trial is held to, or None where it has opened none yet."""
        run = self.run(trial)
        return run.lock()["stores"] if (run.path / LOCK_FILE).is_file() else None

    def failure(self, trial: Trial) -> TrialFailure | None:
        """Return why a trial failed, or None where it did not."""
        path = self._failure_path(trial)
        recorded = read_record(path, Failure)
        return None if recorded is None else TrialFailure(**recorded)

    def write_failure(self, trial: Trial, exit_code: int | None, reason: str) -> TrialFailure:
        """Record why a trial failed."""
        # Exit code 1 is any bug or error without a code of its own: the file tells a divergence.
        has_diverged = exit_code == 1 and (self.run(trial).path / "divergence.json").is_file()
        failure = TrialFailure(exit_code, reason, is_final=exit_code is None or has_diverged)
        path = self._failure_path(trial)
        make_folder(path.parent)
        replace_durably(path, pretty_bytes(asdict(failure)))
        return failure

    def forget_failure(self, trial: Trial) -> None:
        """Remove the record of a failure, so that the trial is tried again."""
        remove_durably(self._failure_path(trial))

    def record_points(self, points: Sequence[Point]) -> None:
        """Record the points so far, which a resumed sweep must draw again.

        Raises
        ------
        IncompatibleError
            It draws others, as another version of the sampler's library may.
        """
        path, drawn = self.path / _POINTS, [dict(point) for point in points]
        recorded = read_record(path, Points) or []
        for number, (before, now) in enumerate(zip(recorded, drawn, strict=False), 1):
            if before != now:
                raise IncompatibleError(
                    f"{path}: point {number} was {before} when the sweep was started,"
                    f" and is {now} now",
                    remedy="Use the versions of numpy and optuna that it was started with,"
                    " or sweep into another --out",
                )
        if len(drawn) > len(recorded):
            replace_durably(path, pretty_bytes(drawn))

    def write(self, name: str, report: Mapping[str, Any]) -> None:
        """Write ``selection.json`` or ``sweep.json``."""
        replace_durably(self.path / name, pretty_bytes(report))

    def _failure_path(self, trial: Trial) -> Path:
        return self.path / "failed" / f"{trial.name}.json"

    def _is_vacant(self) -> bool:
        """Whether the folder holds only what a process killed in `claimed` may have left."""
        return self.path.is_dir() and all(
            entry.name in {OWNER_FILE, _BASE} or entry.name.startswith(".")
            for entry in self.path.iterdir()
        )

    def _require_same(self, pairs: Sequence[tuple[Settings, Settings]]) -> None:
        changed = [line for before, now in pairs for line in settings_differences(before, now)]
        if changed:
            listed = "\n  ".join(changed)
            raise UsageError(
                f"--out {self.path}: the sweep in this folder has other settings\n  {listed}",
                remedy="Leave the settings as they were, or start another sweep with another --out",
            )
