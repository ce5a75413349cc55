"""Times, lengths and numbers in the words that a reader of a page expects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["ago", "exact", "figure", "flat", "iso", "length", "size", "stamp"]

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_DATES_FROM = 14 * _DAY
"""Seconds beyond which a date says more than a number of days."""


def ago(time: float, now: float) -> str:
    """Return how far a time lies from now, for example ``3 min ago`` or ``in 2 h``."""
    distance = abs(now - time)
    if distance < 5:
        return "just now" if time <= now else "now"
    if distance >= _DATES_FROM:
        moment = datetime.fromtimestamp(time, UTC)
        return f"{moment.day} {moment:%b %Y}"
    words = _rounded(distance)
    return f"{words} ago" if time <= now else f"in {words}"


def length(seconds: float) -> str:
    """Return a duration with two units at most, for example ``1 h 20 min``."""
    whole = max(round(seconds), 0)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, rest = divmod(whole, 3600)
    if hours < 48:
        return f"{hours} h {rest // 60} min" if rest >= 60 else f"{hours} h"
    days, rest = divmod(hours, 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def exact(time: float) -> str:
    """Return a time to the second, in UTC."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"


def stamp(time: float) -> str:
    """Return a time to the minute, in UTC."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"


def iso(time: float) -> str:
    """Return a time as RFC 3339 has it, for machines."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"


def figure(value: object, otherwise: str = "-") -> str:
    """Return a number as tables show it: four decimals, and thousands parted.

    Parameters
    ----------
    value
        A number, a truth value or a text.
    otherwise
        What stands for None.
    """
    if value is None:
        return otherwise
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if value == int(value) and abs(value) >= 1:
            return f"{int(value):,}"
        return f"{value:.4f}" if abs(value) >= 0.0001 or value == 0 else f"{value:.1e}"
    return str(value)


def size(count: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:,.1f} {unit}"
    return f"{count / 1024:,.1f} TiB"


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as pairs of a dotted name and a value in words.

    What is null or empty is left out. Objects in a list are numbered where there are several.
    """
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        full = f"{prefix}{name}"
        if value is None or value in ("", [], (), {}):
            continue
        if isinstance(value, Mapping):
            pairs.extend(flat(value, f"{full}."))
        elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
            numbered = {str(number): one for number, one in enumerate(value, 1)}
            pairs.extend(flat(value[0] if len(value) == 1 else numbered, f"{full}."))
        elif isinstance(value, list | tuple):
            pairs.append((full, ", ".join(str(one) for one in value)))
        elif isinstance(value, float):
            pairs.append((full, f"{value:g}"))
        else:
            pairs.append((full, figure(value) if isinstance(value, bool) else str(value)))
    return pairs


def _rounded(seconds: float) -> str:
    """Return a duration in one unit, rounded first: an hour is never 60 minutes."""
    if round(seconds) < _MINUTE:
        return f"{seconds:.0f} s"
    if round(seconds / _MINUTE) < 60:
        return f"{seconds / _MINUTE:.0f} min"
    if round(seconds / _HOUR) < 48:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds / _DAY:.0f} days"
