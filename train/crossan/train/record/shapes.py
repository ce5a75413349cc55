"""The shapes of the JSON files of a run, checked when one is read.

A run folder may come from anybody. What is listed here is what our code reads;
everything else in the files is left alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.foreign import json_value, read_bounded, read_json, require_shape
from crossan.train.settings.tower import tower_of

__all__ = [
    "Environment",
    "Initial",
    "Lock",
    "LockNames",
    "MetricsLine",
    "Progress",
    "Recipe",
    "Result",
    "Sequences",
    "TrackedRun",
    "Validation",
    "read_lines",
    "read_record",
]


def read_record(path: Path, shape: type[BaseModel]) -> Any:  # noqa: ANN401 - a JSON value
    """Return the JSON value of a file of a run after checking its shape, None for no file.

    Raises
    ------
    StoreIntegrityError
        The file is damaged.
    """
    try:
        value = read_json(path, StoreIntegrityError)
    except FileNotFoundError:
        return None
    require_shape(value, shape, str(path), StoreIntegrityError)
    return value


def read_lines(path: Path, shape: type[BaseModel]) -> list[dict[str, Any]]:
    """Return the JSON objects of a file, one on each line, without a torn last one.

    There are none where there is no file.

    Raises
    ------
    StoreIntegrityError
        A whole line is damaged.
    """
    values = []
    try:
        lines = read_bounded(path, StoreIntegrityError).split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        value: dict[str, Any] = json_value(line, where, StoreIntegrityError)
        require_shape(value, shape, where, StoreIntegrityError)
        values.append(value)
    return values


_SHOWN = ("hr@5", "hr@10", "hr@20", "hr@50", "ndcg@10", "ndcg@20", "mrr@10")
"""Metrics that tables and charts show, so that every set of them needs."""


def _require_shown(metrics: dict[str, float]) -> dict[str, float]:
    missing = [name for name in _SHOWN if name not in metrics]
    if missing:
        raise ValueError(f"expected the metric {missing[0]}")
    return metrics


def _require_modality(name: str) -> str:
    tower_of(name)
    return name


_Metrics = Annotated[dict[str, float], AfterValidator(_require_shown)]
_Count = Annotated[int, Field(ge=0)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class LockEntry(_Shape):
    """One store of ``cache.lock.json``."""

    store: Annotated[str, Field(max_length=4096)]
    fingerprint: _Digest
    version: Annotated[int, Field(ge=1)]
    manifest: _Digest | None = None
    """Older runs did not record it."""
    layers: list[_Count]
    dim: Annotated[int, Field(ge=1)]


_Modality = Annotated[str, AfterValidator(_require_modality)]


class Lock(_Shape):
    """``cache.lock.json``."""

    stores: dict[_Modality, LockEntry]


class LockNames(_Shape):
    """``cache.lock.json``, for who needs no more than the names in it."""

    stores: dict[_Modality, dict[str, object]]


class Environment(_Shape):
    """``env.json``."""

    spec: dict[str, bool | int | float | str | None]
    earlier: list[dict[str, bool | int | float | str | None]] = []
    folder: str | None = None
    command: list[str] = []
    python: str | None = None
    packages: dict[str, str] = {}


class Sequences(_Shape):
    """``dataset.lock.json``, of which every field is compared."""

    model_config = ConfigDict(extra="forbid")

    users: _Count
    items: _Count
    interactions: _Count
    sequences: str


class Initial(_Shape):
    """``init.json``."""

    run: str
    epoch: _Count
    sha256: _Digest


class _Cold(_Shape):
    targets: _Count
    hr_10: float = Field(alias="hr@10")
    ndcg_10: float = Field(alias="ndcg@10")


class MetricsLine(_Shape):
    """One line of ``metrics.jsonl``."""

    epoch: Annotated[int, Field(ge=1)]
    loss: float | None = None
    """None for a model that only counts."""
    valid: _Metrics | None = None
    cold_valid: _Cold | None = None
    """Older runs did not record this and what follows."""
    seconds: float | None = None
    ended: str | None = None
    rates: dict[str, float] = {}


class _Drop(_Shape):
    after: Annotated[int, Field(ge=1)]
    came_from: Annotated[int, Field(ge=1, alias="from")]


class Progress(_Shape):
    """How far a checkpoint is, see `crossan.train.loop.progress.TrainingProgress`."""

    model_config = ConfigDict(extra="forbid")

    epoch: _Count
    step: _Count
    loss_sum: float
    best_epoch: _Count
    best_hr: float
    seconds: float
    seconds_before: float = 0.0
    drops: list[_Drop] = []
    metrics: list[MetricsLine]


class _Protocol(_Shape):
    """What both say beside their metrics; older runs did not record all of it."""

    split: str = "leave-last-out"
    split_seed: _Count | None = None
    mask_history: str | None = None
    users: _Count | None = None
    items: _Count | None = None
    epochs: _Count | None = None
    seconds_per_epoch: float | None = None
    peak_memory_bytes: _Count | None = None
    stopped_by: str | None = None
    drops: list[_Drop] = []
    steps: str | None = None
    cutoffs_reached: list[_Count] = []
    contents: dict[str, dict[str, _Count]] = {}


class Validation(_Protocol):
    """``validation.json``."""

    model: str | None = None
    """Older runs did not record it."""
    valid: _Metrics
    cold_valid: _Cold | None = None
    """Older runs did not record it."""
    best_epoch: _Count
    trainable_parameters: _Count
    sequences: str
    seconds_per_epoch: float | None = None
    peak_memory_bytes: _Count | None = None


class _Both(_Shape):
    valid: _Metrics
    test: _Metrics


class _Slices(_Shape):
    target: dict[str, _Metrics]
    target_popularity_decile: dict[str, _Metrics]
    history_length: dict[str, _Metrics]


class _Lists(_Shape):
    top: _Count
    coverage: float
    gini: float
    mean_popularity: float
    history_mean_popularity: float
    popularity_lift: float


class Result(_Protocol):
    """``result.json``."""

    evaluated: Initial | None = None
    """Of a run that was judged again: whose figures they are."""
    model: str | None = None
    """Older runs did not record it."""
    valid: _Metrics
    test: _Metrics
    cold_valid: _Cold | None = None
    """Older runs did not record it."""
    cold_test: _Cold
    popularity: _Both
    slices: _Slices
    recommendations: _Lists
    users: _Count
    items: _Count
    unwinnable_test_targets: _Count
    targets: dict[str, _Count] = {}
    """How many each part has; older runs, of one for every user, did not record it."""
    sequences: str | None = None
    mask_history: str
    trainable_parameters: _Count
    epochs: _Count
    best_epoch: _Count
    seconds_per_epoch: float
    peak_memory_bytes: _Count | None = None


class Recipe(_Shape):
    """``recipe.json``."""

    name: Annotated[str, Field(max_length=200)]
    scale: Literal["paper", "sample"]


class TrackedRun(_Shape):
    """``logs/mlflow.json``."""

    run_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
