"""When a cron expression fires next, in a time zone with its changes of the clock.

As Debian's cron does, a fixed time that the clock leaves out in spring fires right after the gap,
and one that comes twice in autumn fires once.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import nearest

__all__ = ["check_cron", "next_time"]

_FIELDS = 5


def check_cron(expression: str, timezone: str) -> None:
    """Refuse an expression that never fires, or that is none.

    Raises
    ------
    ConfigError
        It is no expression of five fields, or the time zone is unknown.
    """
    next_time(expression, timezone, 0.0)


def next_time(expression: str, timezone: str, after: float) -> float:
    """Return the first time after ``after`` at which an expression fires.

    Parameters
    ----------
    expression
        Five fields, as crontab(5) has them.
    timezone
        Name in the IANA database.
    after
        Seconds since 1970 in UTC, as the result is.

    Raises
    ------
    ConfigError
        As `check_cron`.
    """
    zone = _zone(timezone)
    fields = expression.split()
    if len(fields) != _FIELDS:
        raise _wrong(expression, f"{len(fields)} fields")
    minute, hour, *_ = fields
    if minute.startswith("*") and not hour.startswith("*"):
        # cronsim takes a minute with a star for a job of every hour, which has no fixed time.
        fields[0] = f"0-59{minute[1:]}"
    start = datetime.fromtimestamp(after, UTC).astimezone(zone)
    try:
        following = next(CronSim(" ".join(fields), start)).timestamp()
        # A clock that was put back gives the same local time twice, and the first of the two may
        # lie before `after`.
        while following <= after:
            start = datetime.fromtimestamp(start.timestamp() + 1800, UTC).astimezone(zone)
            following = next(CronSim(" ".join(fields), start)).timestamp()
    except CronSimError as error:
        raise _wrong(expression, str(error)) from None
    except StopIteration:
        raise _wrong(expression, "one that never fires") from None
    return following


def _wrong(expression: str, found: str) -> ConfigError:
    return ConfigError(
        f"cron: expected minute, hour, day of month, month and day of week in {expression!r:.110},"
        f" found {found}",
        remedy="Write for example '30 2 * * *', each day at half past two",
    )


@cache
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    # Looked up among the names there are: a client's text is never searched for as a file.
    known = available_timezones()
    if name not in known:
        close = nearest(name, sorted(known)) if known else None
        hint = f"; did you mean '{close}'?" if close else ""
        raise ConfigError(
            f"timezone {name!r:.80}: expected a name of the IANA database{hint}",
            remedy=None if known else "Have the operator install tzdata, or use UTC",
        )
    return ZoneInfo(name)
