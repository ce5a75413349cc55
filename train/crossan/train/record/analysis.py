"""``analysis.json``, what `crossan.train.runs.analysing` found of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from crossan.common.files import replace_durably
from crossan.train.record.shapes import read_record

__all__ = ["ANALYSIS_FILE", "read_analysis", "write_analysis"]

ANALYSIS_FILE = "analysis.json"

_Count = Annotated[int, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class _Pair(_Shape):
    between: Annotated[list[str], Field(min_length=2, max_length=2)]
    items: _Count
    nats: float | None
    bias: float | None
    noise: float | None
    is_capped: bool


class _Information(_Shape):
    estimator: str
    pairs: list[_Pair]


class _Gate(_Shape):
    modality: str
    layer: _Count
    weights: dict[str, float]
    even: _Share
    deviation: dict[str, float]


class _InterGate(_Shape):
    layers: dict[str, _Count]
    weights: dict[str, float]
    even: _Share
    deviation: dict[str, float]


class _Use(_Shape):
    share: _Share
    weight: float
    weight_where_chosen: float | None


class _Part(_Shape):
    items: _Count
    modalities: dict[str, _Use]


class _Experts(_Shape):
    fusion: str
    slices: dict[str, dict[str, _Part]]


class _Layer(_Shape):
    modality: str
    layer: _Count
    items: _Count
    variance: float
    mean_square: float
    share: float
    is_flat: bool
    effective_rank: float
    sampled_items: _Count


class _Cost(_Shape):
    run: str
    model: str
    seconds_per_epoch: float
    trainable_parameters: _Count
    peak_memory_bytes: _Count
    tpme: float | None


class _Efficiency(_Shape):
    rows: list[_Cost]


class _Analysis(_Shape):
    """The file, in which a part that a model does not have is null."""

    run: str
    model: str
    epoch: _Count
    items: _Count
    mutual_information: _Information | None
    gates: list[_Gate] | None
    inter_gates: list[_InterGate] = []
    """Of IISAN's models alone."""
    experts: _Experts | None
    layers: list[_Layer] | None
    efficiency: _Efficiency | None
    lacking: dict[str, str]


def write_analysis(run: Path, analysis: Mapping[str, Any]) -> None:
    """Write ``analysis.json`` into a run folder."""
    replace_durably(run / ANALYSIS_FILE, (json.dumps(analysis, indent=2) + "\n").encode())


def read_analysis(run: Path) -> dict[str, Any] | None:
    """Return ``analysis.json`` of a run folder, None for no file.

    Raises
    ------
    StoreIntegrityError
        The file is damaged.
    """
    analysis: dict[str, Any] | None = read_record(run / ANALYSIS_FILE, _Analysis)
    return analysis
