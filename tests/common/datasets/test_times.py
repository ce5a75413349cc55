"""Milliseconds from Arrow columns of every type."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from crossan.cache_schema.errors import DataError
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
    assert reading.doubt is None


def test_a_unit_that_was_given_is_obeyed_and_its_doubt_said():
    times, reading = milliseconds_of(pa.array([SECONDS]), "ms", source="f", name="t")
    assert times.to_pylist() == [SECONDS]
    assert reading.dates == (datetime.fromtimestamp(SECONDS / 1000, UTC),) * 2
    assert reading.doubt.startswith("1970-01-19 to 1970-01-19 is not within 1990 to 2100")


def test_a_column_of_missing_times_means_file_order():
    times, reading = milliseconds_of(pa.array([float("nan"), None]), source="f", name="t")
    assert (times.to_pylist(), reading.unit, reading.dates) == ([None, None], "none", None)


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (pa.array([1.0, float("nan")]), ", row 2: expected a time, found none"),
        (pa.array([1.0, float("inf")]), ", row 2: expected a time, found inf"),
        (pa.array([1000.0, 1e300]), ": .*found 1000.0 in row 1 and 1e.300 in row 2"),
        (pa.array([SECONDS, 0]), f": .*found 0 in row 2 and {SECONDS} in row 1"),
        (pa.array(["2020-02-30"]), ", row 1: expected a time, a date that exists"),
        (pa.array(["5", "noon"]), ", row 2: expected a time, a number or ISO 8601, found 'noon'"),
        (pa.array(["2020-01-02T12:00", "2020-01-02T12:00Z"]), ", row 2: .*without a zone as in"),
        (pa.array([0.5]), ", row 1: .*not whole"),
        (pa.array([2**62], pa.timestamp("s")), ", row 1: .*within the years 1 to 9999"),
        (pa.array([2**64 - 1], pa.uint64()), ": .*18446744073709551615|1.8446744073709552e.19"),
        (pa.array([True]), ", row 1: expected a time, found the type bool"),
        (pa.array([5], pa.duration("s")), ", row 1: expected a time, found the type duration"),
    ],
)
def test_what_is_no_time_is_refused_with_file_column_and_row(column, fault):
    with pytest.raises(DataError, match=f"^f, column t{fault}"):
        milliseconds_of(column, source="f", name="t")
