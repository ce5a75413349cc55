"""Training curves for TensorBoard and MLflow, beside ``metrics.jsonl``, which has them anyway.

A log is brought up to date from ``metrics.jsonl`` and never runs ahead of it: a
run that is resumed shows every epoch once, and a log that is asked for late has
the epochs before it too.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from crossan.cache_schema.errors import UsageError
from crossan.common.console import note
from crossan.train.options.training import LogName
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import RunSettings

__all__ = ["CurveLog", "Curves", "require_installed"]

_SCORES = ("valid", "test", "cold_valid", "cold_test")
_RATES = {"lr": "learning_rate"}
"""Names that curves have had for longer than the rates of other groups were drawn."""
_FACTS = ("best_epoch", "trainable_parameters", "seconds_per_epoch", "peak_memory_bytes")


class CurveLog(Protocol):
    """One log of one run."""

    last_epoch: int
    """The last epoch that it holds, 0 for none."""

    def write(self, values: Mapping[str, float], epoch: int) -> None:
        """Add values at an epoch, and have readers see them."""

    def close(self, *, is_finished: bool) -> None:
        """Say that nothing more comes from this process."""


def require_installed(names: Sequence[LogName]) -> None:
    """Refuse logs whose library is not installed.

    Raises
    ------
    UsageError
        One is not; it names the command that installs it.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UsageError(
                f"--log {name}: expected the package {name}, found none",
                remedy=f"pip install 'crossan[{name}]'",
            )


class Curves:
    """The logs of a run, of which none can end a training.

    A log that fails is named in a note and left alone until the run is finished;
    then, and when the run is resumed, it gets what it lacks.

    Parameters
    ----------
    folder, settings
        The run.
    names
        The logs; none on any rank but the first.
    """

    def __init__(self, folder: RunFolder, settings: RunSettings, names: Sequence[LogName]) -> None:
        self._folder, self._settings = folder, settings
        self._logs: dict[LogName, CurveLog | None] = dict.fromkeys(names)
        self._failed: set[LogName] = set()
        self._is_finished = False

    def __enter__(self) -> Self:
        """Return the curves; a log is opened when the first epoch is known."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every log."""
        for name, log in self._logs.items():
            if log is not None and name not in self._failed:
                self._try(name, partial(log.close, is_finished=self._is_finished))

    def update(self) -> None:
        """Write the epochs that logs lack."""
        for name in self._logs:
            if name not in self._failed:
                self._try(name, partial(self._write_epochs, name))

    def finish(self, figures: Mapping[str, Any]) -> None:
        """Write what is left, and the figures of ``result.json`` or ``validation.json``."""
        self._is_finished = True
        self._failed.clear()
        self.update()
        values = final_values(figures)
        for name, log in self._logs.items():
            if log is not None and name not in self._failed:
                epoch = int(figures["best_epoch"])
                self._try(name, partial(log.write, values, epoch))

    def _write_epochs(self, name: LogName) -> None:
        log = self._logs[name]
        if log is None:
            log = self._logs[name] = _open_log(name, self._folder, self._settings)
        for line in self._folder.metrics():
            if line["epoch"] > log.last_epoch:
                log.write(epoch_values(line, self._settings), line["epoch"])
                log.last_epoch = line["epoch"]

    def _try(self, name: LogName, write: Callable[[], None]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what their own libraries find deprecated
                write()
        except Exception as error:  # noqa: BLE001 - whatever they raise, hours of training count more
            self._failed.add(name)
            note(
                f"--log {name}: not written, and training goes on: {_first_line(error)}; the same"
                " command with --resume writes what is missing"
            )


def epoch_values(line: Mapping[str, Any], settings: RunSettings) -> dict[str, float]:
    """Return the points of a line of ``metrics.jsonl``, by the names that curves have."""
    values = {f"valid/{name}": value for name, value in (line.get("valid") or {}).items()}
    if line.get("loss") is not None:  # a model that only counts has none, and no rate
        optimiser = settings.optimiser
        # Older runs did not record their rates, which nothing but the decay changed then.
        rates = line.get("rates") or {"lr": optimiser.lr * optimiser.decay(line["epoch"])}
        values |= {"loss": line["loss"]}
        values |= {_RATES.get(name, f"learning_rate/{name}"): rate for name, rate in rates.items()}
    return values


def final_values(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a finished run, by the names that logs have."""
    values = {
        f"final/{part}/{name}": value
        for part in _SCORES
        for name, value in figures.get(part, {}).items()
    }
    return values | {f"final/{name}": figures[name] for name in _FACTS if name in figures}


def _open_log(name: LogName, folder: RunFolder, settings: RunSettings) -> CurveLog:
    if name is LogName.TENSORBOARD:
        from crossan.train.runs.tensorboard_log import TensorBoardLog

        return TensorBoardLog(folder.path, settings)
    from crossan.train.runs.mlflow_log import MlflowLog

    return MlflowLog(folder.path, settings)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
