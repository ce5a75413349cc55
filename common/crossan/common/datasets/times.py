"""Turn an Arrow column of any type into milliseconds, and say how it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.item_id import shortened
from crossan.common.datasets.columns import (
    decoded,
    first_row,
    is_number,
    is_text,
    row_error,
    texts_of,
)

__all__ = ["TIME_UNITS", "TimeReading", "milliseconds_of"]

_NumberUnit = Literal["s", "ms", "us", "ns"]
TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
_ShownUnit = Literal["s", "ms", "us", "ns", "order", "calendar", "none"]
TIME_UNITS: tuple[TimeUnit, ...] = ("auto", "s", "ms", "us", "ns")
"""What ``--time-unit`` can be."""

_PER_SECOND: Mapping[_NumberUnit, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST_MS = -62_135_596_800_000  # the year 1
_LAST_MS = 253_402_300_799_999  # the end of the year 9999
_PLAUSIBLE_S = (631_152_000, 4_102_444_800)  # 1990 to 2100
_PAST_ANY_UNIT = 2.0**63
_MISSING_WORDS = ["", "nan", "nat", "null", "none", "na", "n/a", "<na>"]
_ISO = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?$"
_ISO_WITH_ZONE = r":\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


@dataclass(frozen=True, slots=True)
class TimeReading:
    """How the timestamps of a table were read."""

    unit: _ShownUnit
    """``order``: small numbers such as 0, 1, 2, which only order the rows. ``calendar``:
    dates and times, typed or in ISO 8601. ``none``: no timestamps, so file order counts."""
    how: str
    """Why this unit, for people."""
    first: int | None = None
    """The earliest, in milliseconds since 1970; None without timestamps."""
    last: int | None = None
    null_count: int = 0

    @property
    def dates(self) -> tuple[datetime, datetime] | None:
        """The earliest and the latest in UTC.

        None where the numbers are no dates.
        """
        if self.first is None or self.last is None or self.unit == "order":
            return None
        return _EPOCH + self.first * _MILLISECOND, _EPOCH + self.last * _MILLISECOND


def milliseconds_of(
    column: pa.ChunkedArray | pa.Array, unit: TimeUnit = "auto", *, source: Path | str, name: str
) -> tuple[pa.ChunkedArray, TimeReading]:
    """Return timestamps as ``int64`` milliseconds since 1970 in UTC, ``(rows,)``.

    Numbers, as such or as text, are in ``unit``. With "auto" that is the one under
    which they all lie between 1990 and 2100; numbers too small for any, such as 0, 1,
    2, stay what they are and only order the rows. Dates and times, as such or in
    ISO 8601, need no unit; those without a zone count as UTC. A time becomes the
    millisecond in which it lies. A null, NaN, NaT or empty text is a missing time:
    either every row has one or none has.

    Parameters
    ----------
    column
        One column of a table, of any Arrow type.
    unit
        Unit of numbers.
    source, name
        The file and the column, for messages.

    Raises
    ------
    DataError
        A value that is no time, lies outside the years 1 to 9999 or is missing beside
        others, or numbers that "auto" cannot tell. The message names file, column and row.
    """
    times = _Column(decoded(column), source, name)
    kind = times.values.type
    if times.values.null_count == len(times.values):
        return _file_order(len(times.values))
    if pt.is_timestamp(kind) or pt.is_date(kind):
        return _from_calendar(times, f"a column of {kind}")
    if is_number(kind):
        return _from_numbers(times, unit)
    if is_text(kind):
        texts = texts_of(times.values, source=source, name=name)
        return _from_text(times.replaced(texts), unit)
    raise times.error(pc.is_valid(times.values), f"found the type {kind}")


@dataclass(frozen=True, slots=True)
class _Column:
    values: pa.ChunkedArray
    source: Path | str
    name: str

    def replaced(self, values: pa.ChunkedArray) -> _Column:
        return _Column(values, self.source, self.name)

    def error(self, where: pa.ChunkedArray, fault: str) -> DataError:
        """Return the error about the first row for which ``where`` holds."""
        row = max(0, first_row(where))
        return row_error(self.source, self.name, row, f"expected a time, {fault}")

    def require(self, is_right: pa.ChunkedArray, fault: str) -> None:
        """Refuse the first row that is not null and not right.

        ``{}`` in ``fault`` is its value.
        """
        if pc.all(is_right).as_py() is False:
            is_wrong = pc.invert(is_right)
            raise self.error(
                is_wrong, fault.format(shortened(self.values[first_row(is_wrong)].as_py()))
            )

    def require_all_or_none(self) -> None:
        """Refuse missing times beside others, as their place in the order is not known."""
        if 0 < self.values.null_count < len(self.values):
            fault = (
                f"found none ({self.values.null_count:,} such rows beside "
                f"{len(self.values) - self.values.null_count:,} with a time)"
            )
            raise self.error(pc.is_null(self.values), fault)


def _file_order(row_count: int) -> tuple[pa.ChunkedArray, TimeReading]:
    nothing = pa.chunked_array([pa.nulls(row_count, pa.int64())])
    return nothing, TimeReading("none", "no timestamps: file order", null_count=row_count)


def _from_calendar(times: _Column, how: str) -> tuple[pa.ChunkedArray, TimeReading]:
    times.require_all_or_none()
    kind = times.values.type
    if pt.is_date(kind):
        unit: _NumberUnit = "ms"
        counts = pc.cast(pc.cast(times.values, pa.date64()), pa.int64())
    else:
        unit = kind.unit
        counts = pc.cast(times.values, pa.int64())
        how += "" if kind.tz else ", without a zone: taken as UTC"
    return _read(times.replaced(counts), unit, "calendar", how)


def _from_text(times: _Column, unit: TimeUnit) -> tuple[pa.ChunkedArray, TimeReading]:
    texts = pc.utf8_trim_whitespace(times.values)
    is_missing = pc.is_in(pc.utf8_lower(texts), pa.array(_MISSING_WORDS))
    texts = pc.if_else(is_missing, pa.scalar(None, pa.string()), texts)
    times = times.replaced(texts)
    if texts.null_count == len(texts):
        return _file_order(len(texts))
    times.require_all_or_none()
    if pc.match_substring_regex(texts.slice(0, 1), _ISO)[0].as_py():
        return _from_iso(times)
    is_numeric = pc.match_substring_regex(texts, _NUMBER)
    times.require(is_numeric, "a number or ISO 8601, found {}")
    texts = pc.utf8_ltrim(texts, characters="+")
    try:
        numbers = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        numbers = pc.cast(texts, pa.float64())
    return _from_numbers(times.replaced(numbers), unit)


def _from_iso(times: _Column) -> tuple[pa.ChunkedArray, TimeReading]:
    texts = times.values
    times.require(pc.match_substring_regex(texts, _ISO), "ISO 8601 as in the first row, found {}")
    is_zoned = pc.match_substring_regex(texts, _ISO_WITH_ZONE)
    has_zone = is_zoned[0].as_py()
    what = "with a zone" if has_zone else "without a zone"
    times.require(pc.equal(is_zoned, has_zone), f"{what} as in the first row, found {{}}")
    texts = pc.replace_substring_regex(texts, r"(\.\d{3})\d+", r"\1")
    kind = pa.timestamp("ms", "UTC" if has_zone else None)
    try:
        stamps = pc.cast(texts, kind)
    except pa.ArrowInvalid:
        is_date = pa.chunked_array([[_is_castable(text, kind) for text in texts]], pa.bool_())
        times.require(is_date, "a date that exists, found {}")
        raise
    return _from_calendar(times.replaced(stamps), "ISO 8601")


def _from_numbers(times: _Column, unit: TimeUnit) -> tuple[pa.ChunkedArray, TimeReading]:
    """Read integers, floats or decimals."""
    times = _integers_or_floats(times)
    times.require_all_or_none()
    if times.values.null_count == len(times.values):
        return _file_order(len(times.values))
    if unit != "auto":
        return _read(times, unit, unit, f"--time-unit {unit}")
    if pt.is_floating(times.values.type):
        times.require(pc.less(pc.abs(times.values), _PAST_ANY_UNIT), "found {}")
    inferred = _infer_unit(times)
    if inferred != "order":
        return _read(times, inferred, inferred, "the unit that puts all between 1990 and 2100")
    times.require(
        pc.equal(times.values, pc.trunc(times.values)),
        "found {}, too small for a date and not whole (give its unit: --time-unit s)",
    )
    counts = pc.cast(times.values, pa.int64())
    extent = pc.min_max(counts).as_py()
    how = "too small for dates: they only order the rows"
    return counts, TimeReading("order", how, extent["min"], extent["max"])


def _integers_or_floats(times: _Column) -> _Column:
    """Return numbers as int64, or as float64 where they are not whole or too large."""
    values = times.values
    if not pt.is_floating(values.type):
        try:
            return times.replaced(pc.cast(values, pa.int64()))
        except pa.ArrowInvalid:
            return times.replaced(pc.cast(values, pa.float64(), safe=False))
    values = pc.cast(values, pa.float64())
    values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    times = times.replaced(values)
    times.require(pc.is_finite(values), "found {}")
    return times


def _infer_unit(times: _Column) -> _NumberUnit | Literal["order"]:
    extent = pc.min_max(times.values).as_py()
    earliest, latest = extent["min"], extent["max"]
    for unit, per_second in _PER_SECOND.items():
        if _PLAUSIBLE_S[0] * per_second <= earliest and latest < _PLAUSIBLE_S[1] * per_second:
            return unit
    if -_PLAUSIBLE_S[0] < earliest and latest < _PLAUSIBLE_S[0]:
        return "order"
    rows = [first_row(pc.equal(times.values, value)) + 1 for value in (earliest, latest)]
    raise DataError(
        f"{times.source}, column {times.name}: expected times that are all between 1990 and 2100 "
        f"in one unit, found {earliest} in row {rows[0]:,} and {latest} in row {rows[1]:,}",
        remedy="Give their unit: --time-unit s, ms, us or ns",
    )


def _read(
    times: _Column, unit: _NumberUnit, shown_unit: _ShownUnit, how: str
) -> tuple[pa.ChunkedArray, TimeReading]:
    """Turn int64 or float64 counts of ``unit`` since 1970 into milliseconds."""
    per_second = _PER_SECOND[unit]
    first = max(_FIRST_MS * per_second // 1000, -(2**63))
    last = min((_LAST_MS + 1) * per_second // 1000 - 1, 2**63 - 1)
    times.require(
        pc.and_(pc.greater_equal(times.values, first), pc.less_equal(times.values, last)),
        f"in {unit} within the years 1 to 9999, found {{}}",
    )
    counts = times.values.to_numpy()
    if counts.dtype == np.float64:
        # First whole microseconds: 1.001 s are 1000.9999999999999 ms.
        counts = np.rint(counts * (1_000_000 / per_second)).astype(np.int64)
        per_second = 1_000_000
    if per_second <= 1000:
        milliseconds = counts * (1000 // per_second)
    else:
        milliseconds = counts // (per_second // 1000)
    first, last = int(milliseconds.min()), int(milliseconds.max())
    return pa.chunked_array([milliseconds]), TimeReading(shown_unit, how, first, last)


def _is_castable(text: pa.StringScalar, kind: pa.DataType) -> bool:
    try:
        text.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True
