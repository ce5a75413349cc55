"""What the script has seen: checks that hold or not, figures beside their goals, and what failed."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Check", "Figure", "Report"]


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold."""

    name: str
    seen: str
    expected: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    """None where nothing is promised."""
    is_floor: bool = False
    """Whether the goal is the least that will do, and not the most."""

    @property
    def meets(self) -> bool | None:
        """Whether the goal is met, None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.is_floor else self.value <= self.goal


@dataclass(slots=True)
class Report:
    """Everything seen so far.

    Parameters
    ----------
    seconds_left
        What the parts that are still to come may take together.
    """

    seconds_left: float
    checks: list[Check] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """Tables and profiles, by the heading they stand under."""
    failures: dict[str, str] = field(default_factory=dict)
    """Of parts that could not be finished, by name."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What each part took."""

    def check(self, name: str, seen: float, most: float) -> None:
        """Note whether a difference is within its tolerance; NaN is not."""
        self.checks.append(Check(name, f"{seen:.3g}", f"<= {most:.3g}", seen <= most))

    def require(self, name: str, seen: object, expected: object) -> None:
        """Note whether two things are equal."""
        self.checks.append(Check(name, _short(seen), _short(expected), seen == expected))

    def figure(
        self,
        name: str,
        value: float,
        unit: str,
        goal: float | None = None,
        *,
        is_floor: bool = False,
    ) -> None:
        """Note a figure."""
        self.figures.append(Figure(name, value, unit, goal, is_floor))

    def take(self, name: str, part: Callable[[], None]) -> None:
        """Do a part, unless the time is over; whatever it raises is noted, and the next one begins."""
        if self.seconds_left <= 0:
            self.failures[name] = "left out: the time was over"
            return
        begun = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            part()
        except Exception:  # noqa: BLE001 - a card is lent for minutes: one fault must not cost the rest
            self.failures[name] = traceback.format_exc()
        self.seconds[name] = time.monotonic() - begun
        self.seconds_left -= self.seconds[name]
        print(f"{name}: {self.seconds[name]:.1f} s", file=sys.stderr, flush=True)

    @property
    def holds(self) -> bool:
        """Whether all was done and every check holds."""
        return not self.failures and all(check.holds for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return asdict(self)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
