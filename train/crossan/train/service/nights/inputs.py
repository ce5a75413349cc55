"""What a night would train on now, and what of it was trained on before."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from crossan.cache_schema.errors import UsageError
from crossan.train.service.nights.checking import checked_settings
from crossan.train.service.nights.datasets import DatasetPlace, dataset_at
from crossan.train.service.nights.fingerprints import fingerprint_of, with_inbox
from crossan.train.service.nights.inbox import open_inbox
from crossan.train.service.nights.stores import stores_of, stores_to_read
from crossan.train.service.queue.rows import State, Step
from crossan.train.service.settings import ServiceSettings
from crossan.train.service.specs import NightSpec

__all__ = [
    "NightInput",
    "fingerprint_at_begin",
    "input_of",
    "last_inbox",
    "log_read",
    "rebase_logs",
    "unread_inbox",
]


@dataclass(frozen=True, slots=True)
class NightInput:
    """A dataset and its stores as they are now."""

    fingerprint: str
    interactions: int


def input_of(spec: NightSpec, settings: ServiceSettings) -> NightInput:
    """Return what a night would train on if it neither updated nor extracted anything.

    Raises
    ------
    CrossanError
        The dataset is gone, or the spec does not fit any more.
    """
    dataset = dataset_at(spec.dataset, settings)
    checked = checked_settings(spec, dataset, settings)
    versions: list[list[object]] = []
    name = dataset.description.name
    if checked.model.reads_hidden_states:
        try:
            read = stores_to_read(spec.stores, checked.data.modality, settings, name)
            # Of a version that the spec names, what follows it says nothing.
            versions = [
                [one.fingerprint, version, one.digest if version == one.version else ""]
                for one, version in read.values()
            ]
        except UsageError:
            # Which store is read is not settled yet, as before the first extraction.
            versions = [[s.fingerprint, s.version, s.digest] for s in stores_of(settings, name)]
    counts = dataset.description.counts
    return NightInput(
        fingerprint_of(spec, dataset.description.digest, versions), counts.get("interactions", 0)
    )


def unread_inbox(
    connection: sqlite3.Connection, spec: NightSpec, dataset: DatasetPlace
) -> str | None:
    """Return the signature of an inbox that no update has read as it is, None for none."""
    if not spec.update or dataset.inbox is None:
        return None
    inbox = open_inbox(dataset.inbox)
    is_read = not inbox.options or inbox.signature == last_inbox(connection, spec.dataset)
    return None if is_read else inbox.signature


def fingerprint_at_begin(seen: NightInput, unread: str | None) -> str:
    """Return the digest by which two triggers that fire for the same reason begin one night."""
    return seen.fingerprint if unread is None else with_inbox(seen.fingerprint, unread)


def last_inbox(connection: sqlite3.Connection, dataset: str) -> str | None:
    """Return the signature of the inbox that the last update of a dataset has read."""
    return _of_last_update(connection, dataset).get("inbox")


def log_read(connection: sqlite3.Connection, dataset: str) -> str | None:
    """Return the stamp of the log that the last update of a dataset has read."""
    return _of_last_update(connection, dataset).get("log")


def _of_last_update(connection: sqlite3.Connection, dataset: str) -> dict[str, str]:
    row = connection.execute(
        "SELECT result FROM runs WHERE dataset = ? AND step = ? AND state = ?"
        " ORDER BY id DESC LIMIT 1",
        (dataset, Step.UPDATE, State.SUCCEEDED),
    ).fetchone()
    result: dict[str, str] = (
        {} if row is None or row["result"] is None else json.loads(row["result"])
    )
    return result


def rebase_logs(connection: sqlite3.Connection, dataset: str, interactions: int) -> None:
    """Have triggers that wait for a log to grow count from here on."""
    rows = connection.execute("SELECT id, spec, state FROM triggers").fetchall()
    for row in rows:
        spec = json.loads(row["spec"])
        if spec["kind"] == "log" and spec["night"]["dataset"] == dataset:
            state = json.loads(row["state"]) | {"counted_from": interactions}
            connection.execute(
                "UPDATE triggers SET state = ? WHERE id = ?", (json.dumps(state), row["id"])
            )
