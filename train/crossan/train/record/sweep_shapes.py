"""The shapes of the JSON files of a sweep, checked when one is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Compared", "Selection"]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Compared(_Shape):
    """What a sweep compared of its dataset and stores, for its trials."""

    dataset: str
    items: str
    stores: dict[str, dict[str, bool | int | str | None]]


class _ChosenRun(_Shape):
    # Below the sweep's folder and nowhere else, whoever wrote the file.
    run: Annotated[str, Field(pattern=r"^runs/[A-Za-z0-9][A-Za-z0-9-]*$")]


class _Chosen(_Shape):
    runs: Annotated[list[_ChosenRun], Field(min_length=1)]


class Selection(_Shape):
    """``selection.json`` of a sweep."""

    chosen: _Chosen | None
