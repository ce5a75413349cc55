"""The sweep folder: what is asked, what came of every trial, what was chosen."""

from __future__ import annotations

import json
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
from crossan.common.files import replace_durably
from crossan.common.stores.pins import LOCK_FILE
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import RunSettings
from crossan.train.sweep.choosing import TrialResult
from crossan.train.sweep.points import Point
from crossan.train.sweep.settings import SweepSettings
from crossan.train.sweep.trials import Trial

__all__ = ["Failure", "SweepFolder"]

_SWEEP, _BASE, _POINTS = "sweep.toml", "config.toml", "points.json"
_SECONDS_BETWEEN_REFRESHES = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial has no figures."""

    exit_code: int | None
    """None where its settings did not fit together, so that it was never started."""
    reason: str
    is_final: bool
    """Whether it would fail again: it diverged. Anything else is tried again by the next command."""


class SweepFolder:
    """One sweep's folder; every file in it is written whole.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._refreshed_at = time.monotonic()

    def recorded(self) -> SweepSettings | None:
        """Return the sweep that was begun here, None where none was."""
        path = self.path / _SWEEP
        return (
            load_settings(SweepSettings, files=[path], environment={}) if path.is_file() else None
        )

    @contextmanager
    def claimed(self, sweep: SweepSettings, base: RunSettings) -> Iterator[None]:
        """Hold the folder for a sweep, the one that lies there already or a new one.

        Raises
        ------
        UsageError
            Another sweep lies there, or something else.
        BusyError
            Another process sweeps there.
        """
        recorded = self.recorded()
        if recorded is not None:
            before = load_settings(RunSettings, files=[self.path / _BASE], environment={})
            self._require_same([(recorded, sweep), (before, base)])
        elif self.path.exists() and not self._is_vacant():
            raise UsageError(
                f"--out {self.path}: expected an empty folder or a sweep, found other files",
                remedy=f"Choose another: --out {self.path}-2",
            )
        self.path.mkdir(parents=True, exist_ok=True)
        claim(self.path, "sweeps")
        try:
            replace_durably(
                self.path / _BASE, to_toml(base).encode()
            )  # first: a sweep.toml tells of a sweep
            replace_durably(self.path / _SWEEP, to_toml(sweep).encode())
            yield
        finally:
            release(self.path)

    def refresh(self) -> None:
        """Show other hosts that the sweep goes on, once a minute however often it is called."""
        now = time.monotonic()
        if now - self._refreshed_at >= _SECONDS_BETWEEN_REFRESHES:
            self._refreshed_at = now
            refresh(self.path)

    def arguments(self, trial: Trial) -> tuple[str, ...]:
        """Return the arguments with which ``crossan-train`` runs a trial or goes on with it."""
        config, out = str(self.path / _BASE), str(self.path / trial.place)
        return ("--config", config, *trial.assignments(), "--out", out, "--resume")

    def log(self, trial: Trial) -> Path:
        """Return where a trial's output is kept."""
        return self.path / "logs" / f"{trial.name}.log"

    def run(self, trial: Trial) -> RunFolder:
        """Return a trial's run folder."""
        return RunFolder(self.path / trial.place)

    def result(self, trial: Trial) -> TrialResult | None:
        """Return a trial's validation figures, None before it is finished."""
        figures = self.run(trial).validation()
        return (
            None
            if figures is None
            else TrialResult.read(trial, figures, self.run(trial).lock()["stores"])
        )

    def locked(self, trial: Trial) -> dict[str, dict[str, Any]] | None:
        """Return the stores that a trial began with and goes on with, None where it has not come to any."""
        run = self.run(trial)
        return run.lock()["stores"] if (run.path / LOCK_FILE).is_file() else None

    def failure(self, trial: Trial) -> Failure | None:
        """Return why a trial failed, None where it has not."""
        path = self._failure_path(trial)
        return Failure(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def write_failure(self, trial: Trial, exit_code: int | None, reason: str) -> Failure:
        """Record why a trial failed."""
        has_diverged = (self.run(trial).path / "divergence.json").is_file()
        failure = Failure(exit_code, reason, exit_code is None or (exit_code == 1 and has_diverged))
        path = self._failure_path(trial)
        path.parent.mkdir(exist_ok=True)
        replace_durably(path, pretty_bytes(asdict(failure)))
        return failure

    def forget_failure(self, trial: Trial) -> None:
        """Have a trial be tried again."""
        self._failure_path(trial).unlink(missing_ok=True)

    def record_points(self, points: Sequence[Point]) -> None:
        """Record the points so far; a sweep that goes on must come by the same ones.

        Raises
        ------
        IncompatibleError
            It does not: another version of the sampler's library draws others.
        """
        path, asked = self.path / _POINTS, [dict(point) for point in points]
        there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        for number, (before, now) in enumerate(zip(there, asked, strict=False), 1):
            if before != now:
                raise IncompatibleError(
                    f"{path}: point {number} was {before} when the sweep was begun, and is {now} now",
                    remedy="Go on with the versions of numpy and optuna it was begun with, or sweep into another --out",
                )
        if len(asked) > len(there):
            replace_durably(path, pretty_bytes(asked))

    def write(self, name: str, report: Mapping[str, Any]) -> None:
        """Write ``selection.json`` or ``sweep.json``."""
        replace_durably(self.path / name, pretty_bytes(report))

    def _failure_path(self, trial: Trial) -> Path:
        return self.path / "failed" / f"{trial.name}.json"

    def _is_vacant(self) -> bool:
        """Whether nothing lies there but what a process killed in `claimed` may have left."""
        return self.path.is_dir() and all(
            place.name in {OWNER_FILE, _BASE} or place.name.startswith(".")
            for place in self.path.iterdir()
        )

    def _require_same(self, pairs: Sequence[tuple[Settings, Settings]]) -> None:
        changed = [line for before, now in pairs for line in settings_differences(before, now)]
        if changed:
            listed = "\n  ".join(changed)
            raise UsageError(
                f"--out {self.path}: the sweep there has other settings\n  {listed}",
                remedy="Leave the settings as they were, or start another sweep with another --out",
            )
