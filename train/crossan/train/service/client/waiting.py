"""Waiting for a run, and saying meanwhile how it comes along."""

from __future__ import annotations

import typer

from crossan.common.console import note, print_json
from crossan.train.service.client.events import Event, follow_run
from crossan.train.service.client.http import Client
from crossan.train.service.client.printing import print_run

__all__ = ["finish"]

_FAILED = 1
"""Exit code where a run that was waited for did not succeed."""


def finish(client: Client, run_id: int, *, as_json: bool) -> None:
    """Wait for a run, print it, and end the command with 1 where it did not succeed.

    Raises
    ------
    UsageError
        There is no such run.
    RemoteError
        The server stays away.
    """
    for event in follow_run(client, run_id):
        _note_event(event)
    run = client.get(f"/v1/runs/{run_id}")
    if as_json:
        print_json(run)
    else:
        print_run(run)
    if run["state"] not in {"succeeded", "skipped"}:
        raise typer.Exit(_FAILED)


def _note_event(event: Event) -> None:
    """Say on stderr how a run comes along."""
    if event.name == "state":
        note(f"run {event.content['id']} is {event.content['state']}")
    elif event.name == "curve":
        line = event.content
        value = (line.get("valid") or {}).get("ndcg@10")
        words = [f"epoch {line.get('epoch')}"]
        words += [] if value is None else [f"validation NDCG@10 {value:.4f}"]
        words += ["best so far"] if line.get("is_best") else []
        note(", ".join(words))
