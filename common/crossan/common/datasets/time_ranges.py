"""From when to when the timestamps of a report are, and in which unit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from crossan.common.datasets.report import TimeRange
from crossan.common.datasets.times import TimeReading

__all__ = ["DATES_BEGIN_MS", "stored_range", "time_range"]

DATES_BEGIN_MS = 631_152_000_000
"""1990. Smaller timestamps of a dataset are numbers that only order its rows."""
_PLAUSIBLE = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
_DATES_END_MS = 253_402_300_799_999  # the end of the year 9999


def time_range(times: TimeReading) -> TimeRange:
    """Return what a report says of the timestamps of a table."""
    unit = "file order" if times.unit == "none" else times.unit
    first, last = times.dates or (times.first, times.last)
    return TimeRange(
        unit=unit, decided=times.how, first=_shown(first), last=_shown(last), doubt=_doubt(times)
    )


def _doubt(times: TimeReading) -> str | None:
    """Return what speaks against a reading, None for nothing."""
    if times.dates is None:
        return None
    first, last = times.dates
    is_right = "are these dates" if times.unit == "calendar" else f"is the unit {times.unit}"
    shown = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    if first < _PLAUSIBLE[0] or last >= _PLAUSIBLE[1]:
        return f"{shown} is not within 1990 to 2100: {is_right} right?"
    # A day: clocks differ, and so do the zones of times that name none.
    if last > datetime.now(UTC) + timedelta(days=1):
        return f"{shown} ends in the future: {is_right} right?"
    return None


def stored_range(timestamps: pa.ChunkedArray) -> TimeRange:
    """Return what a report says of the timestamps of a dataset, milliseconds or null."""
    ends = pc.min_max(timestamps).as_py()
    first, last = ends["min"], ends["max"]
    if first is None:
        return time_range(TimeReading("none", "no timestamps: file order"))
    are_dates = first >= DATES_BEGIN_MS and last <= _DATES_END_MS
    how = "as stored" if are_dates else "too small for dates: they only order the rows"
    reading = TimeReading("ms" if are_dates else "order", how, first, last)
    if timestamps.null_count:
        doubt = f"{timestamps.null_count:,} of {len(timestamps):,} rows have none: file order"
        return time_range(reading).model_copy(update={"doubt": doubt})
    return time_range(reading)


def _shown(end: datetime | int | None) -> str | None:
    if end is None or isinstance(end, int):
        return None if end is None else str(end)
    return end.isoformat()
