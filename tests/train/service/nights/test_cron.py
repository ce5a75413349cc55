"""When a cron expression fires: each fixed time of each day once, whatever the clock does."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import ConfigError
from crossan.train.service.nights.cron import check_cron, next_time

BERLIN = ZoneInfo("Europe/Berlin")


def times(expression, start, count, zone="Europe/Berlin"):
    """The next times in local time, with their distance from UTC."""
    moment, following = start.timestamp(), []
    for _ in range(count):
        moment = next_time(expression, zone, moment)
        local = datetime.fromtimestamp(moment, ZoneInfo(zone))
        following.append(local.isoformat(timespec="minutes"))
    return following


SPRING, AUTUMN = datetime(2026, 3, 28, 12, tzinfo=BERLIN), datetime(2026, 10, 24, 12, tzinfo=BERLIN)


def test_a_time_that_the_clock_leaves_out_fires_once():
    assert times("30 2 * * *", SPRING, 2) == ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]
    assert times("*/30 2 * * *", SPRING, 2) == ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]


def test_a_time_that_comes_twice_fires_once():
    assert times("30 2 * * *", AUTUMN, 2) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]
    assert times("* 2 * * *", AUTUMN, 61)[-2:] == ["2026-10-25T02:59+02:00", "2026-10-26T02:00+01:00"]  # fmt: skip


def test_each_hour_is_each_hour():
    hours = times("30 * * * *", datetime(2026, 10, 25, 1, tzinfo=BERLIN), 4)
    assert [hour[11:] for hour in hours] == ["01:30+02:00", "02:30+02:00", "02:30+01:00", "03:30+01:00"]  # fmt: skip


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kolkata"]  # fmt: skip


@given(
    st.sampled_from(ZONES),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 364),
    st.integers(0, 86_399),
)
def test_a_daily_time_fires_once_on_each_day(zone, hour, minute, day, second):
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day, seconds=second)
    moment, dates = start.timestamp(), []
    for _ in range(4):
        following = next_time(f"{minute} {hour} * * *", zone, moment)
        assert following > moment
        moment = following
        dates.append(datetime.fromtimestamp(moment, ZoneInfo(zone)).date())
    assert dates == [dates[0] + timedelta(days=n) for n in range(4)]
    local = datetime.fromtimestamp(moment, ZoneInfo(zone))
    # At its time, or up to an hour later where the clock leaves that out.
    assert timedelta(0) <= local - local.replace(hour=hour, minute=minute) <= timedelta(hours=1)


@given(st.integers(0, 365 * 86_400))
def test_looking_again_later_changes_nothing(seconds):
    """The next time is the same for every moment before it, those of a repeated hour too."""
    start = datetime(2026, 1, 1, tzinfo=UTC).timestamp() + seconds
    following = next_time("30 2 * * *", "Europe/Berlin", start)
    for moment in (start + 1, (start + following) / 2, following - 1):
        if start < moment < following:
            assert next_time("30 2 * * *", "Europe/Berlin", moment) == following


@pytest.mark.parametrize(
    ("expression", "zone", "message"),
    [
        ("30 2 * *", "UTC", "found 4 fields"),
        ("0 30 2 * * *", "UTC", "found 6 fields"),
        ("61 2 * * *", "UTC", "found Bad minute"),
        ("0 0 30 2 *", "UTC", "found Bad day-of-month"),
        ("x" * 100, "UTC", "found 1 fields"),
        ("30 2 * * *", "Europe/Berlyn", "IANA database; did you mean 'Europe/Berlin'"),
        ("30 2 * * *", "../../etc/passwd", "expected a name of the IANA database"),
        ("30 2 * * *", "/etc/localtime", "expected a name of the IANA database"),
    ],
)
def test_what_never_fires_is_refused(expression, zone, message):
    with pytest.raises(ConfigError, match=message):
        check_cron(expression, zone)
