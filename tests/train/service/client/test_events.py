"""Following a run through breaks of the connection."""

import io
import time
from types import SimpleNamespace

import pytest

from crossan.train.service.client import events
from crossan.train.service.client.runs import app
from support.client import invoke

STREAM = {"Content-Type": "text/event-stream"}


def pauses_of(monkeypatch):
    """Have the client make no pauses; return a list of those that it would have made."""
    pauses = []
    # Its name of the module alone: other threads of this process sleep, too.
    stand_in = SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic)
    monkeypatch.setattr(events, "time", stand_in)
    return pauses


def test_events_are_read_as_the_standard_has_them():
    text = (
        b"retry: 2000\n\n: alive\n\n"
        b'id: 1-2\r\nevent: log\r\ndata: {"text":\r\ndata: "a"}\r\n\r\n'
        b"data:no json\n\n"
        b"event: nothing\n\n"
        b"event: torn\ndata: {}\n"
    )
    assert list(events.events_of(io.BytesIO(text))) == [
        ("log", {"text": "a"}, "1-2"),
        ("message", "no json", "1-2"),
    ]


def log(number, text):
    return f'id: 1-{number}\nevent: log\ndata: {{"text": "{text}\\n"}}\n\n'.encode()


def test_a_broken_stream_goes_on_behind_what_was_read(told_server, monkeypatch):
    pauses_of(monkeypatch)
    told = told_server(
        (200, STREAM, log(1, "one") + b"id: 1-9\nevent: log\ndata: {"),
        None,
        (200, STREAM, log(2, "two")),
        (200, STREAM, b'id: end\nevent: end\ndata: {"state": "succeeded"}\n\n'),
    )
    result = invoke(app, "logs", "3", "-f", *told.options)
    assert (result.code, result.out) == (0, "one\ntwo\n")
    sent = [headers.get("Last-Event-Id") for _, _, headers, _ in told.requests]
    assert sent == [None, "1-1", "1-1", "1-2"]


def test_a_stream_of_which_all_was_read_ends(told_server):
    assert invoke(app, "logs", "3", "-f", *told_server((204, {}, b"")).options).code == 0


def test_a_server_that_stays_away_ends_it(told_server, monkeypatch):
    pauses = pauses_of(monkeypatch)
    result = invoke(app, "logs", "3", "-f", *told_server(None).options)
    assert result.code == 8
    assert len(pauses) == 7
    assert pauses == sorted(pauses)
    assert max(pauses) <= 8


@pytest.mark.parametrize("count", [20])
def test_a_server_that_ends_streams_without_an_event_is_not_asked_without_a_pause(
    told_server, monkeypatch, count
):
    pauses = pauses_of(monkeypatch)
    empty, last = (200, STREAM, b": alive\n\n"), (204, {}, b"")
    told = told_server(*[empty] * count, last)
    assert invoke(app, "logs", "3", "-f", *told.options).code == 0
    assert len(pauses) == count
    assert min(pauses) > 0
