"""Milliseconds from Arrow columns of every type."""

import math
import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError
from crossan.common.datasets.time_ranges import stored_range, time_range
from crossan.common.datasets.times import milliseconds_of

NOON = datetime(2020, 1, 2, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())


@pytest.mark.parametrize(
    ("column", "milliseconds", "unit"),
    [
        (pa.array([SECONDS]), SECONDS * 1000, "s"),
        (pa.array([SECONDS + 0.001]), SECONDS * 1000 + 1, "s"),
        (pa.array([SECONDS * 1000 + 1]), SECONDS * 1000 + 1, "ms"),
        (pa.array([SECONDS * 10**6 + 1999]), SECONDS * 1000 + 1, "us"),
        (pa.array([SECONDS * 10**9 + 1_999_999]), SECONDS * 1000 + 1, "ns"),
        (pa.array([str(SECONDS)]), SECONDS * 1000, "s"),
        (pa.array(["7"]), 7, "order"),
        (pa.array(["2020-01-02T12:00:00Z"]), SECONDS * 1000, "calendar"),
        (pa.array(["2020-01-02 14:00:00.0019+02:00"]), SECONDS * 1000 + 1, "calendar"),
        (pa.array(["2020-01-02"]), (SECONDS - 12 * 3600) * 1000, "calendar"),
        (pa.array([NOON]), SECONDS * 1000, "calendar"),
        (pa.array([date(2020, 1, 2)]), (SECONDS - 12 * 3600) * 1000, "calendar"),
    ],
)
def test_times_become_milliseconds_in_the_unit_that_makes_them_dates(column, milliseconds, unit):
    times, reading = milliseconds_of(column, source="f", name="t")
    assert (times.to_pylist(), reading.unit) == ([milliseconds], unit)
    assert time_range(reading).doubt is None


def test_a_unit_that_was_given_is_obeyed_and_its_doubt_said():
    times, reading = milliseconds_of(pa.array([SECONDS]), "ms", source="f", name="t")
    assert times.to_pylist() == [SECONDS]
    assert reading.dates == (datetime.fromtimestamp(SECONDS / 1000, UTC),) * 2
    assert time_range(reading).doubt.startswith(
        "1970-01-19 to 1970-01-19 is not within 1990 to 2100"
    )


@pytest.mark.parametrize(
    ("column", "question"),
    [
        (["2023010110", "2023010111"], "ends in the future: is the unit s right?"),
        (["2052-01-01", "2023-01-01"], "2023-01-01 to 2052-01-01 ends in the future: are these"),
        ([1_700_000_000, 3_000_000_000], "ends in the future: is the unit s right?"),
    ],
)
def test_times_in_the_future_raise_a_doubt(column, question):
    times, reading = milliseconds_of(pa.array(column), source="f", name="t")
    assert question in time_range(reading).doubt
    assert "ends in the future" in stored_range(times).doubt
    soon = int((datetime.now(UTC) + timedelta(hours=20)).timestamp())
    _, reading = milliseconds_of(pa.array([soon]), source="f", name="t")
    assert time_range(reading).doubt is None


def test_a_column_of_missing_times_means_file_order():
    times, reading = milliseconds_of(pa.array([float("nan"), None]), source="f", name="t")
    assert (times.to_pylist(), reading.unit, reading.dates) == ([None, None], "none", None)


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (pa.array([1.0, float("nan")]), ", row 2: expected a time, found none"),
        (pa.array([1.0, float("inf")]), ", row 2: expected a time, found inf"),
        (pa.array([1000.0, 1e300]), ", row 2: expected a time, found 1e.300"),
        (pa.array([SECONDS, 0]), f": .*found 0 in row 2 and {SECONDS} in row 1"),
        (pa.array(["2020-02-30"]), ", row 1: expected a time, a date that exists"),
        (pa.array(["5", "noon"]), ", row 2: expected a time, a number or ISO 8601, found 'noon'"),
        (pa.array(["2020-01-02T12:00", "2020-01-02T12:00Z"]), ", row 2: .*without a zone as in"),
        (pa.array([0.5]), ", row 1: .*not whole"),
        (pa.array([2**62], pa.timestamp("s")), ", row 1: .*within the years 1 to 9999"),
        (pa.array([2**64 - 1], pa.uint64()), ", row 1: .*found 1.8446744073709552e.19"),
        (pa.array([True]), ", row 1: expected a time, found the type bool"),
        (pa.array([5], pa.duration("s")), ", row 1: expected a time, found the type duration"),
    ],
)
def test_what_is_no_time_is_refused_with_file_column_and_row(column, fault):
    with pytest.raises(DataError, match=f"^f, column t{fault}"):
        milliseconds_of(column, source="f", name="t")


PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def whole_numbers(unit):
    inside = st.integers(631_152_000 * PER_SECOND[unit], 4_102_444_799 * PER_SECOND[unit])
    return st.lists(inside | st.integers(-5, 5) if unit == "s" else inside, max_size=4)


numbers = st.sampled_from(sorted(PER_SECOND)).flatmap(whole_numbers) | st.lists(
    st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 10**12), max_size=4
)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
zones = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))


def read(column, unit="auto"):
    """Return what `milliseconds_of` returns, and the message of its refusal."""
    try:
        return *milliseconds_of(column, unit, source="f", name="t"), None
    except DataError as error:
        return None, None, error.message


def expected_milliseconds(values, unit):
    """Return what whole numbers are in milliseconds and why not, in plain Python."""
    if unit == "auto":
        fitting = [
            name
            for name, per in PER_SECOND.items()
            if all(631_152_000 * per <= value < 4_102_444_800 * per for value in values)
        ]
        if not fitting and all(abs(value) < 631_152_000 for value in values):
            return values
        if not fitting:
            return None
        unit = fitting[0]
    result = [value * 1000 // PER_SECOND[unit] for value in values]
    for value in result:
        try:
            EPOCH + value * MILLISECOND
        except OverflowError:
            return None
    return result


@given(numbers, st.sampled_from(["auto", "s", "ms", "us", "ns"]), st.data())
def test_numbers_of_any_type_are_milliseconds_as_plain_python_says(values, unit, data):
    as_type = {
        "int64": lambda: pa.array(values, pa.int64()),
        "text": lambda: pa.array([f" {value}" for value in values], pa.string()),
        "bytes": lambda: pa.array([str(value).encode() for value in values], pa.binary()),
        "decimal": lambda: pa.array([Decimal(value) for value in values], pa.decimal128(38, 9)),
        "dictionary": lambda: pa.array(values, pa.int64()).dictionary_encode(),
    }
    column = as_type[data.draw(st.sampled_from(sorted(as_type)))]()
    missing = data.draw(st.integers(0, 1)) if values else 0
    if missing:
        column = pa.concat_arrays([column, pa.nulls(1, column.type)])
    expected = expected_milliseconds(values, unit)
    times, reading, refusal = read(column, unit)
    if refusal:
        assert re.match(r"f, column t(, row \d+)?: expected ", refusal)
        assert missing or expected is None
        return
    assert not missing
    assert times.to_pylist() == expected
    if values:
        assert (reading.first, reading.last) == (min(expected), max(expected))
        assert reading.unit == unit or unit == "auto"


@given(st.lists(st.floats(allow_nan=False) | st.floats(1e9, 2e9), min_size=1, max_size=3))
def test_floats_are_milliseconds_within_one_or_refused(values):
    times, _, refusal = read(pa.array(values, pa.float64()), "s")
    if refusal:
        row = int(re.match(r"f, column t, row (\d+): expected a time", refusal)[1])
        seconds = values[row - 1]
        assert not math.isfinite(seconds) or not -62_135_596_800 <= seconds < 253_402_300_800
        return
    for milliseconds, seconds in zip(times.to_pylist(), values, strict=True):
        assert abs(milliseconds - seconds * 1000) <= 1 + 1e-15 * abs(milliseconds)


@given(st.lists(moments, min_size=1, max_size=3), zones, st.data())
def test_moments_of_any_type_are_milliseconds_as_datetime_says(stamps, zone, data):
    aware = [stamp.replace(tzinfo=zone or UTC) for stamp in stamps]
    expected = [(stamp - EPOCH) // MILLISECOND for stamp in aware]
    isoformat = data.draw(st.sampled_from(["T", " "]))
    written = [
        stamp.replace(tzinfo=zone).isoformat(isoformat).replace("+00:00", "Z") for stamp in stamps
    ]
    arrow = pa.timestamp("us", None if zone is None else "UTC")
    column = data.draw(st.sampled_from([pa.array(written), pa.array(aware, arrow)]))
    times, reading, refusal = read(column)
    if refusal:
        assert "within the years 1 to 9999" in refusal
        return
    assert times.to_pylist() == expected
    assert reading.unit == "calendar"
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert (time_range(reading).doubt is None) == all(
        moment.year >= 1990 and moment <= tomorrow for moment in aware
    )


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"a": 1}]),
        pa.array([[1]]),
        pa.array([datetime(2020, 1, 1).time()]),
        pa.array([b"\xff"]),
        pa.array([b"a" * 16], pa.uuid()),
        pa.array([pa.MonthDayNano([1, 2, 3])]),
    ],
)
def test_types_that_hold_no_times_are_refused(column):
    with pytest.raises(DataError, match=r"^f, column t, row 1: expected "):
        milliseconds_of(column, source="f", name="t")
