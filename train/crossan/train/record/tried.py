"""What a sweep tried, by validation, what it chose, and what failed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel

from crossan.cache_schema.errors import UsageError
from crossan.train.record.shapes import read_record

__all__ = ["Failure", "Points", "read_tried"]

_FILE = "selection.json"
_Count = Annotated[int, Field(ge=0)]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class _Spread(_Shape):
    mean: float
    sd: float | None = None


class _Metrics(_Shape):
    hr_10: _Spread = Field(alias="hr@10")
    ndcg_10: _Spread = Field(alias="ndcg@10")
    hr_20: _Spread = Field(alias="hr@20")
    ndcg_20: _Spread = Field(alias="ndcg@20")


class _Run(_Shape):
    # Below the sweep's folder and nowhere else, whoever wrote the file.
    run: Annotated[str, Field(pattern=r"^runs/[A-Za-z0-9][A-Za-z0-9-]*$")]


class _Setting(_Shape):
    point: dict[str, object]
    model: str
    runs: Annotated[list[_Run], Field(min_length=1)]
    valid: _Metrics
    trainable_parameters: _Count


class _Failed(_Shape):
    point: dict[str, object]
    seed: _Count
    reason: str


class _Tried(_Shape):
    """``selection.json``, all of it."""

    rule: str
    settings: list[_Setting]
    failed: list[_Failed]
    chosen: _Setting


class Failure(_Shape):
    """``failed/NAME.json`` of a sweep."""

    model_config = ConfigDict(extra="forbid")

    exit_code: int | None
    reason: str
    is_final: bool


class Points(RootModel[list[dict[str, object]]]):
    """``points.json`` of a sweep."""


def read_tried(sweep: Path) -> dict[str, Any]:
    """Return every setting of a sweep with its validation metrics, and the chosen one.

    Nothing of test targets is in it.

    Raises
    ------
    UsageError
        The sweep has not chosen yet.
    StoreIntegrityError
        The file is damaged.
    """
    tried: dict[str, Any] | None = read_record(sweep / _FILE, _Tried)
    if tried is None:
        raise UsageError(
            f"{sweep}: expected {_FILE}, found none; the sweep is not finished",
            remedy="Run the same crossan sweep again, which goes on with it",
        )
    return tried
