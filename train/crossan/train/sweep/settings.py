"""The settings of a sweep, which are axes, seeds and how points are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from crossan.cache_schema.canonical import canonical_bytes
from crossan.common.config import Settings, dotted

__all__ = ["Range", "SweepSettings", "parse_range"]


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from low to high, both included."""

    low: float
    high: float
    is_log: bool
    """Whether the logarithm is spread evenly, and not the number."""
    is_whole: bool
    """Whether the numbers are whole, as low and high are."""


class SweepSettings(Settings):
    """Everything that decides which trials a sweep runs.

    The resolved settings are in ``sweep.toml`` in its folder.
    """

    sampler: Literal["grid", "random", "optuna"] = "grid"
    """Every combination, points drawn at random, or points that optuna's TPE proposes."""

    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Values to try, by the dotted name of the setting."""

    range: dict[str, str] = Field(default_factory=dict)
    """``low:high`` or ``low:high:log``, by the dotted name of the setting.

    Not for the grid sampler.
    """

    trials: int | None = Field(default=None, ge=1)
    """Points to draw, each tried with every seed. Not for the grid sampler."""

    seeds: tuple[int, ...] = (0,)
    """Seeds that every point is trained with."""

    sampler_seed: int = Field(default=0, ge=0)
    """Seed of the draws."""

    at_once: int | None = Field(default=None, ge=1)
    """Points that optuna proposes before it learns how they did.

    By default as many as run side by side when the sweep starts.
    """

    device: Literal["cpu", "cuda"] | None = None
    """Kind of device that trials run on, by default CUDA where the machine has any."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads of each trial.

    By default the cores divided among the trials that run side by side when the
    sweep starts.
    """

    @field_validator("grid", "range", mode="before")
    @classmethod
    def _by_dotted_name(cls, given: object) -> object:
        """Turn the nested groups of TOML into dotted names."""
        # Sorted, so that no result depends on the order in which they were given.
        return dict(sorted(dotted(given))) if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.sampler == "grid" and (self.range or self.trials is not None):
            raise ValueError(
                "expected --sampler random or optuna with --range and --trials, got grid"
            )
        if self.sampler != "grid" and self.trials is None:
            raise ValueError(f"expected --trials N with --sampler {self.sampler}, got none")
        if self.sampler != "grid" and not (self.grid or self.range):
            raise ValueError(
                f"expected --grid or --range with --sampler {self.sampler}, got neither"
            )
        if self.sampler != "optuna" and self.at_once is not None:
            raise ValueError(f"expected at_once with --sampler optuna only, got {self.sampler}")
        for name, values in (*self.grid.items(), ("seeds", self.seeds)):
            if not values or len({_bytes_of(name, value) for value in values}) < len(values):
                raise ValueError(f"expected distinct values of {name}, got {list(values)}")
        for name, text in self.range.items():
            if name in self.grid:
                raise ValueError(f"expected {name} once, got it in grid and in range")
            parse_range(name, text)
        return self


def _bytes_of(name: str, value: object) -> bytes:
    """Return the value of an axis as bytes, which are equal for equal values."""
    try:
        return canonical_bytes(value)
    except (TypeError, ValueError):
        # TOML has dates, times and infinite numbers; settings have none of them.
        raise ValueError(
            f"expected finite numbers, booleans or texts of {name}, dates and times in quotes"
            f" (--grid '{name}=\"2024-01-31\"'), got {value}"
        ) from None


def parse_range(name: str, text: str) -> Range:
    """Read ``low:high`` or ``low:high:log``.

    Raises
    ------
    ValueError
        The text is something else, low is not below high, or low is not above 0
        for a logarithm.
    """
    parts = text.split(":")
    try:
        bounds = [float(part) for part in parts[:2]]
        is_whole = all(part.strip().lstrip("+-").isdigit() for part in parts[:2])
    except ValueError:
        bounds, is_whole = [], False
    is_log = parts[2:] == ["log"]
    if len(bounds) != 2 or (parts[2:] and not is_log):
        raise ValueError(f"{name}: expected low:high or low:high:log, got {text}")
    low, high = bounds
    if not float("-inf") < low < high < float("inf") or (is_log and low <= 0):
        raise ValueError(f"{name}: expected {'0 < ' if is_log else ''}low < high, got {text}")
    return Range(low, high, is_log, is_whole)
