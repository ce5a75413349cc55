"""When triggers begin nights, in words."""

import pytest

from crossan.train.service.specs import TriggerSpec
from crossan.train.service.web.pages.trigger_words import rule_of


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "cron", "cron": "5 2 * * *"}, "every day at 02:05 (UTC)"),
        ({"kind": "cron", "cron": "30  14 * * 1-5", "timezone": "Europe/Berlin"}, "Monday to Friday at 14:30 (Europe/Berlin)"),
        ({"kind": "cron", "cron": "*/5 2 * * *"}, "at */5 2 * * * (UTC)"),
        ({"kind": "store"}, "when any store has a new version"),
        ({"kind": "store", "modality": "text"}, "when the text store has a new version"),
        ({"kind": "log", "grown_by": 5000}, "when there are 5,000 more interactions"),
    ],
)  # fmt: skip
def test_a_rule(fields, words):
    assert rule_of(TriggerSpec(name="x", night={"dataset": "shop"}, **fields)) == words
