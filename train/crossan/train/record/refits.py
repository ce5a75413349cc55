"""The refit of a run, which lies in a folder of its own inside the run's.

Of a refit nothing is known but what it was trained on: the run that it is inside of
has the figures.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.common.foreign import read_json, require_shape
from crossan.train.settings import RunSettings

__all__ = [
    "is_refit",
    "judged_run",
    "read_refit_result",
    "refit_folder",
    "refitted_run",
    "require_figures",
    "require_something_unseen",
    "words_of",
]

_FOLDER = "refit"
_Count = Annotated[int, Field(ge=0)]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Judged(_Shape):
    run: Literal[".."]
    epoch: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Refit(_Shape):
    trained_on: Literal["validation", "all"]
    epochs: Annotated[int, Field(ge=1)]
    judged: _Judged


class _Result(_Shape):
    """``result.json`` of a refit."""

    model: str
    refit: _Refit
    users: _Count
    items: _Count
    interactions: _Count
    sequences: str
    contents: dict[str, dict[str, _Count]] = {}
    trainable_parameters: _Count
    epochs: _Count
    best_epoch: _Count
    seconds_per_epoch: float
    peak_memory_bytes: _Count | None = None


def refit_folder(run: Path) -> Path:
    """Return where the refit of a run lies."""
    return run / _FOLDER


def refitted_run(folder: Path) -> Path | None:
    """Return the run whose refit a folder is for by its name, None for any other folder."""
    return folder.parent if folder.name == _FOLDER else None


def judged_run(refit: Path) -> Path:
    """Return the run that judges a refit."""
    return refitted_run(refit) or refit / ".."


def is_refit(settings: RunSettings) -> bool:
    """Whether the settings are those of a refit."""
    return settings.refit != "none"


def read_refit_result(path: Path) -> dict[str, Any] | None:
    """Return ``result.json`` of a refit, None where there is none, or where it is that of a run.

    Raises
    ------
    StoreIntegrityError
        The file is damaged.
    """
    try:
        value: Any = read_json(path, StoreIntegrityError)
    except FileNotFoundError:
        return None
    if not isinstance(value, dict) or "refit" not in value:
        return None
    require_shape(value, _Result, str(path), StoreIntegrityError)
    return value


def require_figures(run: Path, settings: RunSettings) -> None:
    """Refuse a refit where the figures of a run are needed.

    Raises
    ------
    UsageError
        It is one; the remedy names the run that has them.
    """
    if is_refit(settings):
        raise UsageError(
            f"{run}: expected a run that was judged, found a refit: it was trained on"
            f" {words_of(settings)}, and has no figures of its own",
            remedy=f"Read those of the run that judged it: crossan compare"
            f" {shlex.quote(str(judged_run(run)))}",
        )


def require_something_unseen(run: Path, settings: RunSettings) -> None:
    """Refuse to judge a refit that was trained on all there is.

    Raises
    ------
    UsageError
        It is one.
    """
    if settings.refit == "all":
        require_figures(run, settings)


def words_of(settings: RunSettings) -> str:
    """Return in words which held-out items a refit was trained on."""
    both = "the validation and test items, too"
    return both if settings.refit == "all" else "the validation items, too"
