"""People are told of a night that went wrong, once each, however often that has to be tried."""

import json

import pytest

from crossan.cache_schema.errors import RemoteError
from crossan.train.service.nights.messages import Messenger
from crossan.train.service.nights.nights import Nights
from crossan.train.service.queue.rows import State
from crossan.train.service.settings import MessageSettings
from crossan.train.service.specs import NightSpec
from support.nightly import Office, write_description

SPEC = NightSpec.model_validate({"dataset": "shop", "update": False})
MESSAGES = {"command": ["tell"], "webhook": "https://chat.example/x", "allowed_hosts": ["chat.example"]}  # fmt: skip


class Post:
    """Takes messages, or refuses them."""

    def __init__(self):
        self.taken = []
        self.refuses = set()

    def __call__(self, target, message, settings):
        if target in self.refuses:
            raise RemoteError(f"{target}: nobody is there")
        self.taken.append((target, message["night"]))


@pytest.fixture
def office(tmp_path):
    write_description(tmp_path / "roots/shop")
    made = Office(tmp_path, messages=MESSAGES)
    made.post = Post()
    made.nights.messenger = messenger_of(made)
    yield made
    made.close()


def messenger_of(office):
    return Messenger(office.database, office.settings.messages, office.clock, office.post)


def fail(office):
    night = office.nights.begin(SPEC, "ann", "asked for")
    return office.end_night(night, state=State.FAILED)


def test_a_night_that_failed_is_told_to_each_target_once(office):
    night = fail(office)
    assert office.nights.messenger.send_due() == 2
    assert office.nights.messenger.send_due() == 0
    assert office.post.taken == [("command", night.id), ("webhook", night.id)]
    assert office.nights.get(night.id).told == office.clock()


def test_a_night_that_went_well_is_not_told(office):
    office.end_night(office.nights.begin(SPEC, "ann", "asked for"), {"promote": {"version": 1}})
    assert office.nights.messenger.send_due() == 0


def test_a_night_that_was_held_back_is_told(office):
    office.end_night(office.nights.begin(SPEC, "ann", "x"), {"promote": {"held_back": "moved"}})
    assert office.nights.messenger.send_due() == 2


def test_who_was_told_is_not_told_again_while_another_does_not_answer(office):
    office.post.refuses.add("webhook")
    night = fail(office)
    office.nights.messenger.send_due()
    assert office.nights.get(night.id).told is None
    for pause in (10, 20, 40):
        office.clock.now += pause - 1
        assert office.nights.messenger.send_due() == 0
        office.clock.now += 1
        office.nights.messenger.send_due()
    office.post.refuses.clear()
    # A new server goes on where the last one was.
    office.nights.messenger = messenger_of(office)
    assert office.nights.messenger.send_due() == 0
    office.clock.now += 80
    assert office.nights.messenger.send_due() == 1
    assert office.post.taken == [("command", night.id), ("webhook", night.id)]
    assert office.nights.get(night.id).told == office.clock()


def test_a_clock_that_is_put_back_holds_no_message_back(office):
    office.post.refuses.update({"command", "webhook"})
    fail(office)
    office.nights.messenger.send_due()
    office.post.refuses.clear()
    office.clock.now -= 86_400
    assert office.nights.messenger.send_due() == 2


def test_a_day_of_refusals_is_enough(office):
    office.post.refuses.update({"command", "webhook"})
    fail(office)
    tries = 0
    for _ in range(60):
        before = office.database.read(tries_of)
        office.nights.messenger.send_due()
        tries += office.database.read(tries_of) - before
        office.clock.now += 3600
    assert tries == 60  # thirty for each


def tries_of(connection):
    return connection.execute("SELECT sum(tries) FROM messages").fetchone()[0] or 0


def test_nobody_is_told_where_no_one_is_named(tmp_path):
    write_description(tmp_path / "roots/shop")
    office = Office(tmp_path)
    night = fail(office)
    assert office.nights.messenger.send_due() == 0
    assert office.nights.get(night.id).told is None
    office.close()


def test_the_thread_sends_and_stops(office, tmp_path):
    target = tmp_path / "message.json"
    messages = MessageSettings(command=("tee", str(target)))
    settings = office.settings.model_copy(update={"messages": messages})
    office.nights = Nights(office.database, office.folder, office.registry, settings, office.clock)
    office.nights.start()
    night = fail(office)
    while office.nights.get(night.id).told is None:
        office.nights.messenger._has_news.set()
    office.nights.stop()
    message = json.loads(target.read_text())
    assert message["id"] == f"crossan-night-{night.id}"
    assert message["state"] == "failed"
    assert message["text"].startswith("crossan, shop: train failed")
