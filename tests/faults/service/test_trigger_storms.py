"""Storms of triggers: each distinct input trains once, whatever moves and whatever the clock does.

``CROSSAN_FAULTS=full`` runs 100 storms of each kind, otherwise a few.
"""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from crossan.train.service.specs import TriggerSpec
from support.nightly import Office, write_description, write_store_versions

STORMS = 100 if os.environ.get("CROSSAN_FAULTS") == "full" else 2
MOVES = 100


@pytest.fixture
def office(tmp_path):
    write_description(tmp_path / "roots/shop")
    write_store_versions(tmp_path / "cache", 1)
    made = Office(tmp_path)
    yield made
    made.close()


def add(office, kind, **fields):
    night = {"dataset": "shop", "update": False}
    spec = {"name": kind, "kind": kind, "night": night, **fields}
    office.nights.add_trigger(TriggerSpec.model_validate(spec), "ann")


def settle(office, ticks=8):
    """Let every night that is due come to its end; return what was trained on."""
    for _ in range(ticks):
        for night in office.tick_after(61):
            office.train(night)
        for night in office.nights.all():
            if night.ended is None:
                office.end_night(night)
    return [night.fingerprint for night in office.nights.all()]


@pytest.mark.parametrize("seed", range(STORMS))
def test_a_store_that_moves_a_hundred_times_is_trained_on_once_at_rest(office, seed):
    """One night for the last version, at most one more for what moved while that ran."""
    chance = random.Random(seed)
    add(office, "store")
    # Never quiet for long enough.
    for version in range(2, MOVES + 1):
        write_store_versions(office.path / "cache", version)
        assert office.tick_after(chance.uniform(0, 59)) == []
    (night,) = [*office.tick_after(0), *office.tick_after(61)]
    assert night.reason.endswith(f"has version {MOVES}")
    office.train(night)
    # It moves on while the night is under way, and stands still for long enough between.
    more = chance.randint(1, 20)
    for version in range(MOVES + 1, MOVES + more + 1):
        write_store_versions(office.path / "cache", version)
        assert office.tick_after(chance.uniform(0, 200)) == []
    office.end_night(night)
    trained = settle(office)
    assert len(trained) == len(set(trained)) == 2
    assert office.nights.all()[0].reason.endswith(f"has version {MOVES + more}")


@pytest.mark.parametrize("seed", range(STORMS))
def test_all_kinds_of_triggers_together_train_each_input_once(office, seed):
    chance = random.Random(seed)
    add(office, "store")
    add(office, "log", grown_by=10)
    add(office, "cron", cron="*/7 * * * *")
    version, count = 1, 100
    for _ in range(MOVES):
        event = chance.random()
        if event < 0.3:
            version += 1
            write_store_versions(office.path / "cache", version)
        elif event < 0.5:
            count += chance.randint(1, 15)
            write_description(office.path / "roots/shop", interactions=count)
        # Sometimes the clock is put back, by up to a day.
        jump = -chance.uniform(0, 86_400) if event > 0.95 else chance.uniform(0, 300)
        for night in office.tick_after(jump):
            office.train(night)
        for night in office.nights.all():
            if night.ended is None and chance.random() < 0.4:
                office.end_night(night)
    # Beyond every time that the clock was put back from: a cron trigger waits until then.
    office.clock.now += MOVES * 86_400
    trained = settle(office)
    assert None not in trained
    assert len(trained) == len(set(trained))
    # What there is at the end was trained on: nothing that moved was lost.
    night = office.nights.begin(office.nights.triggers.all()[0].spec.night, "ann", "to compare")
    office.train(night)
    assert office.nights.get(night.id).fingerprint is None


@pytest.mark.parametrize("seed", range(STORMS))
def test_a_clock_that_is_put_back_a_day_fires_no_time_twice(office, seed):
    chance = random.Random(seed)
    minute, hour = chance.randrange(60), chance.randrange(24)
    add(office, "cron", cron=f"{minute} {hour} * * *")
    fired_for = []
    for step in range(MOVES):
        write_description(office.path / "roots/shop", content=f"{seed} {step}")
        due = office.nights.triggers.all()[0].next_time
        jump = -86_400 if chance.random() < 0.1 else chance.uniform(0, 4 * 3600)
        for night in office.tick_after(jump):
            fired_for.append(due)
            office.train(night)
            office.end_night(night)
    assert len(fired_for) == len(set(fired_for))
    assert fired_for == sorted(fired_for)


ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Beirut",
]


@pytest.mark.parametrize("seed", range(STORMS))
def test_daylight_saving_costs_no_night_and_gives_none_twice(office, seed):
    chance = random.Random(seed)
    zone = ZoneInfo(chance.choice(ZONES))
    change = chance.choice(changes_of(zone, chance.randint(2024, 2030)))
    minute, hour = chance.randrange(60), chance.randrange(4)
    start = change - timedelta(days=2)
    office.clock.now = start.timestamp()
    add(office, "cron", cron=f"{minute} {hour} * * *", timezone=str(zone))
    nights = []
    for step in range(4 * 24 * 6):
        for night in office.tick_after(600):
            nights.append(datetime.fromtimestamp(night.created, zone))
            office.train(night)
            office.end_night(night)
            write_description(office.path / "roots/shop", content=f"{seed} {step}")
    days = [night.date() for night in nights]
    assert days == [days[0] + timedelta(days=n) for n in range(len(days))]
    assert days[0] <= (start + timedelta(days=1)).astimezone(zone).date()
    assert days[-1] >= (start + timedelta(days=3)).astimezone(zone).date()


def changes_of(zone, year):
    """The hours in which a zone's clock changes."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    hours = [start + timedelta(hours=n) for n in range(366 * 24)]
    return [
        hour
        for hour in hours
        if hour.astimezone(zone).utcoffset()
        != (hour + timedelta(hours=1)).astimezone(zone).utcoffset()
    ]
