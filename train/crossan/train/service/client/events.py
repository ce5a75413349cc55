"""Following a run by the events that the server sends, through breaks of the connection."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from crossan.cache_schema.errors import RemoteError
from crossan.train.service.client.http import Client

__all__ = ["Event", "events_of", "follow_run"]

_TRIES = 8
"""Connections in a row that bring no event until the server counts as away."""
_LONGEST_PAUSE = 8.0


class Event(NamedTuple):
    """One event of a stream."""

    name: str
    content: Any
    id: str | None


def events_of(stream: IO[bytes]) -> Iterator[Event]:
    """Yield the events of a stream until it ends.

    What is torn off by the end of the stream is no event. The format is that of
    https://html.spec.whatwg.org/multipage/server-sent-events.html.
    """
    name, number = "message", None
    data: list[str] = []
    for raw in stream:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield Event(name, _content("\n".join(data)), number)
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            number = value


def follow_run(client: Client, run_id: int) -> Iterator[Event]:
    """Yield the events of a run from its beginning until ``end``, whatever breaks on the way.

    Raises
    ------
    UsageError
        There is no such run.
    RemoteError
        The server stays away.
    """
    last_id: str | None = None
    failures = 0
    while True:
        try:
            with client.stream(f"/v1/runs/{run_id}/events", last_id) as stream:
                if stream is None:
                    return
                for event in events_of(stream):
                    failures = 0
                    last_id = event.id or last_id
                    yield event
                    if event.name == "end":
                        return
        except RemoteError:
            failures += 1
            if failures == _TRIES:
                raise
        time.sleep(min(0.1 * 2**failures, _LONGEST_PAUSE))


def _content(text: str) -> Any:  # noqa: ANN401 - of JSON
    try:
        return json.loads(text)
    except ValueError:
        return text
