"""What a run and a sweep have recorded, read without torch.

`crossan.train.record.run_folder.RunFolder` reads a run through it, and so does
whatever compares runs and opens no model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import UsageError
from crossan.common.config import load_settings
from crossan.common.stores.pins import LOCK_FILE
from crossan.train.record import shapes
from crossan.train.record.dataset_lock import unrecorded_facts
from crossan.train.record.refits import read_refit_result
from crossan.train.record.sweep_shapes import Selection
from crossan.train.settings import RunSettings

__all__ = [
    "RANKS_FILE",
    "RESULT_FILE",
    "SWEEP_FILE",
    "VALIDATION_FILE",
    "read_environment",
    "read_result",
    "read_selection",
    "read_settings",
    "read_stores",
    "read_validation",
]

RESULT_FILE, VALIDATION_FILE = "result.json", "validation.json"
RANKS_FILE = "eval/per_user.parquet"
"""The rank of every user's targets."""
SWEEP_FILE = "sweep.toml"
"""What tells a sweep's folder, which has a ``config.toml`` too, from a run's."""


def read_settings(run: Path) -> RunSettings:
    """Return the settings that a run was made with.

    Raises
    ------
    UsageError
        No run lies there.
    """
    config = run / "config.toml"
    if (run / SWEEP_FILE).is_file():
        raise UsageError(f"{run}: expected a run, found a sweep; see {run}/runs")
    if not config.is_file():
        raise UsageError(
            f"no run at {run}: expected config.toml there, found none",
            remedy="crossan-train --out RUN",
        )
    return load_settings(RunSettings, files=[config], environment={})


def read_result(run: Path) -> dict[str, Any] | None:
    """Return ``result.json``, None before the run is finished.

    That of a refit has what it cost and no figures.

    Raises
    ------
    StoreIntegrityError
        The file is damaged.
    """
    of_refit = read_refit_result(run / RESULT_FILE)
    if of_refit is not None:
        return of_refit
    return _completed(run, shapes.read_record(run / RESULT_FILE, shapes.Result))


def read_validation(run: Path) -> dict[str, Any] | None:
    """Return ``validation.json``, None where the run has not written it.

    Raises
    ------
    StoreIntegrityError
        The file is damaged.
    """
    return _completed(run, shapes.read_record(run / VALIDATION_FILE, shapes.Validation))


def read_environment(run: Path) -> dict[str, Any]:
    """Return ``env.json``, empty where there is none.

    Raises
    ------
    StoreIntegrityError
        The file is damaged.
    """
    return shapes.read_record(run / "env.json", shapes.Environment) or {}


def read_stores(run: Path) -> dict[str, dict[str, Any]]:
    """Return the stores of ``cache.lock.json`` by modality, none where there is no such file.

    Raises
    ------
    StoreIntegrityError
        The file is damaged.
    """
    lock = shapes.read_record(run / LOCK_FILE, shapes.Lock) or {"stores": {}}
    stores: dict[str, dict[str, Any]] = lock["stores"]
    return stores


def read_selection(sweep: Path) -> dict[str, Any] | None:
    """Return what a sweep chose, None before it has chosen.

    Raises
    ------
    StoreIntegrityError
        The file is damaged.
    """
    selection: dict[str, Any] | None = shapes.read_record(sweep / "selection.json", Selection)
    return selection


def _completed(run: Path, figures: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return figures with the model's name and the data, which older runs lack."""
    if figures is None:
        return None
    name = {} if "model" in figures else {"model": read_settings(run).model.kind}
    facts = {} if "split" in figures else unrecorded_facts(run)
    return {**name, **facts, **figures}
