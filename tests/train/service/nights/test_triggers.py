"""When triggers begin nights, and when there is nothing to begin one for."""

from datetime import UTC, datetime

import pytest

from crossan.cache_schema.errors import BusyError, ConfigError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.train.service.nights.nights import Nights
from crossan.train.service.nights.rows import NightState
from crossan.train.service.queue.rows import State
from crossan.train.service.specs import TriggerSpec
from support.nightly import write_description, write_store_versions


def spec_of(kind, name="t", night=None, **more):
    night = {"dataset": "shop", "update": False, **(night or {})}
    return TriggerSpec.model_validate({"name": name, "kind": kind, "night": night, **more})


def add(office, kind, **more):
    office.nights.add_trigger(spec_of(kind, **more), "ann")


def the_trigger(office):
    (trigger,) = office.nights.triggers.all()
    return trigger


def test_a_clock_begins_a_night_at_its_time_and_never_twice(office):
    office.clock.now = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
    add(office, "cron", cron="30 2 * * *")
    due = datetime(2026, 11, 28, 2, 30, tzinfo=UTC).timestamp()
    assert the_trigger(office).next_time == due
    office.clock.now = due - 1
    assert office.nights.tick() == []
    (night,) = office.tick_after(1)
    assert (night.trigger_name, night.reason) == ("t", "at 30 2 * * * UTC")
    assert night.created_by == "trigger t"
    assert office.tick_after(1) == []
    trigger = the_trigger(office)
    assert (trigger.next_time, trigger.last_night, trigger.last_time) == (due + 86_400, 1, due)
    assert office.woken == 1


def test_a_clock_that_jumps_back_a_day_fires_nothing_twice(office):
    office.clock.now = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
    add(office, "cron", cron="30 2 * * *")
    (night,) = office.tick_after(15 * 3600)
    office.end_night(night)
    write_description(office.path / "roots/shop", content="other")
    assert office.tick_after(-86_400) == []
    assert office.tick_after(86_400) == []
    (night,) = office.tick_after(24 * 3600)
    assert night.id == 2


def test_times_that_passed_while_no_server_ran_fire_once(office):
    office.clock.now = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
    add(office, "cron", cron="*/10 * * * *")
    (night,) = office.tick_after(5 * 86_400 + 60)
    office.end_night(night)
    write_description(office.path / "roots/shop", content="other")
    assert office.tick_after(1) == []
    assert the_trigger(office).next_time == office.clock.now - 61 + 600


def test_a_clock_on_unchanged_input_begins_no_night(office):
    add(office, "cron", cron="0 * * * *")
    (night,) = office.tick_after(3600)
    office.train(night)
    office.end_night(night)
    assert office.tick_after(3600) == []
    trigger = the_trigger(office)
    assert trigger.last_reason.startswith("nothing new: night 1 has trained on the same dataset")
    assert (trigger.last_time, trigger.last_night) == (office.clock(), 1)
    write_description(office.path / "roots/shop", content="other")
    assert [night.id for night in office.tick_after(3600)] == [2]


def test_a_night_that_failed_is_tried_again_at_the_next_time(office):
    add(office, "cron", cron="0 * * * *")
    (night,) = office.tick_after(3600)
    office.train(night)
    office.end_night(night, state=State.FAILED)
    assert [night.id for night in office.tick_after(3600)] == [2]


def test_a_store_that_moves_begins_a_night_once_it_is_quiet(office):
    add(office, "store")
    assert office.tick_after(1000) == []
    write_store_versions(office.path / "cache", 2)
    assert office.tick_after(5) == []
    assert office.tick_after(59) == []
    (night,) = office.tick_after(1)
    assert night.reason.endswith("has version 2")
    office.train(night)
    office.end_night(night)
    assert office.tick_after(1000) == []


def test_a_store_of_another_modality_begins_none(office):
    add(office, "store", modality="image")
    write_store_versions(office.path / "cache", 2)
    assert [office.tick_after(100), office.tick_after(100)] == [[], []]
    write_store_versions(office.path / "cache", 1, modality=Modality.IMAGE)
    assert [len(office.tick_after(100)), len(office.tick_after(100))] == [0, 1]


def test_what_a_night_extracts_itself_begins_no_other_night(office):
    add(office, "store")
    write_store_versions(office.path / "cache", 2)
    office.tick_after(0)
    (night,) = office.tick_after(60)
    write_store_versions(office.path / "cache", 3)  # the night's own extraction
    office.train(night)
    office.end_night(night)
    assert [office.tick_after(100), office.tick_after(100)] == [[], []]
    assert the_trigger(office).last_reason.startswith("nothing new: night 1 has trained")


def test_a_trigger_waits_for_the_night_that_is_under_way(office):
    add(office, "store")
    write_store_versions(office.path / "cache", 2)
    office.tick_after(0)
    (night,) = office.tick_after(60)
    office.train(night)
    write_store_versions(office.path / "cache", 9)
    assert [office.tick_after(100), office.tick_after(100)] == [[], []]
    office.end_night(night)
    (second,) = office.tick_after(1)
    assert second.reason.endswith("has version 9")


def test_two_triggers_of_one_input_begin_one_night(office):
    office.nights.add_trigger(spec_of("cron", name="a", cron="0 * * * *"), "ann")
    office.nights.add_trigger(spec_of("cron", name="b", cron="0 * * * *"), "ann")
    (night,) = office.tick_after(3600)
    office.train(night)
    office.end_night(night)
    assert office.tick_after(1) == []
    assert [trigger.last_night for trigger in office.nights.triggers.all()] == [1, None]


def test_a_log_that_grew_enough_begins_a_night(office):
    add(office, "log", grown_by=50)
    write_description(office.path / "roots/shop", interactions=149)
    assert [office.tick_after(100), office.tick_after(100)] == [[], []]
    write_description(office.path / "roots/shop", interactions=150)
    assert office.tick_after(1) == []
    (night,) = office.tick_after(60)
    assert night.reason == "50 more interactions"
    office.train(night)
    office.end_night(night)
    write_description(office.path / "roots/shop", interactions=199)
    assert [office.tick_after(100), office.tick_after(100)] == [[], []]


def write_log(office, rows, name="interactions.csv"):
    folder = office.path / "inbox/shop"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("user_id,item_id,timestamp\n" + "u,i,1700000000\n" * rows)
    return folder


def test_rows_in_the_inbox_count_until_an_update_has_read_them(office):
    add(office, "log", grown_by=50, night={"update": True})
    write_log(office, 50)
    office.tick_after(0)
    (night,) = office.tick_after(60)
    assert night.reason == "50 more interactions"
    run = office.nights.runs_of(night.id)[0]
    status = (office.path / "inbox/shop/interactions.csv").stat()
    read = {"inbox": "x", "log": f"{status.st_size}-{status.st_mtime_ns}"}
    office.end_run(run, State.SUCCEEDED, result={"added": {}, **read})
    write_description(office.path / "roots/shop", interactions=150)
    office.train(night)
    office.end_night(night)
    assert [office.tick_after(100), office.tick_after(100)] == [[], []]


def test_a_log_that_only_arrow_can_count_is_news_by_itself(office):
    add(office, "log", grown_by=50, night={"update": True})
    write_log(office, 1, "interactions.parquet")
    office.tick_after(0)
    (night,) = office.tick_after(60)
    assert night.reason == "a new log lies in the inbox"


def test_an_unread_inbox_is_something_new(office):
    add(office, "cron", cron="0 * * * *", night={"update": True})
    (night,) = office.tick_after(3600)
    office.train(night)
    office.end_night(night)
    assert office.tick_after(3600) == []
    write_log(office, 3)
    assert [night.id for night in office.tick_after(3600)] == [2]


def test_a_trigger_that_cannot_look_says_why_and_goes_on(office):
    add(office, "store")
    moved = (office.path / "roots/shop").rename(office.path / "roots/away")
    assert office.tick_after(1) == []
    assert "no dataset folder of this name" in the_trigger(office).last_reason
    moved.rename(office.path / "roots/shop")
    write_store_versions(office.path / "cache", 2)
    office.tick_after(0)
    assert len(office.tick_after(60)) == 1


def test_triggers_are_kept_by_their_names(office):
    add(office, "cron", cron="0 * * * *")
    with pytest.raises(BusyError, match="trigger t: there is one of this name"):
        add(office, "store")
    with pytest.raises(ConfigError, match="found Bad minute"):
        add(office, "cron", name="u", cron="99 * * * *")
    with pytest.raises(ConfigError, match="unknown setting"):
        add(office, "store", name="u", night={"settings": {"modle.kind": "x"}})
    office.nights.remove_trigger("t", "ann")
    assert office.nights.triggers.all() == []
    with pytest.raises(UsageError, match="trigger 't': no such trigger"):
        office.nights.remove_trigger("t", "ann")
    assert [entry.action for entry in office.registry.audit()] == ["remove trigger", "add trigger"]


def test_a_trigger_that_a_person_runs_trains_whatever_was_trained_before(office):
    add(office, "cron", cron="0 * * * *")
    (night,) = office.tick_after(3600)
    office.train(night)
    office.end_night(night)
    again = office.nights.run_trigger("t", "ann")
    assert (again.id, again.created_by, again.fingerprint) == (2, "ann", None)
    assert (again.trigger_name, again.state) == ("t", NightState.RUNNING)
    assert the_trigger(office).last_night == 2


def test_a_restart_forgets_nothing(office):
    add(office, "store")
    write_store_versions(office.path / "cache", 2)
    office.tick_after(5)
    office.nights = Nights(
        office.database, office.folder, office.registry, office.settings, office.clock
    )
    assert len(office.tick_after(60)) == 1
