"""A night and a trigger as rows, and what they are read and written by."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from crossan.cache_schema.errors import UsageError
from crossan.train.service.specs import TriggerSpec

__all__ = [
    "NightRow",
    "NightState",
    "TriggerRow",
    "get_night",
    "get_trigger",
    "list_nights",
    "list_triggers",
    "night_under_way",
]


class NightState(StrEnum):
    """Where a night is."""

    RUNNING = "running"
    """Some of its runs have not ended."""
    PROMOTED = "promoted"
    HELD_BACK = "held back"
    """A model was trained, and the one in production stays."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOTHING = "nothing to do"
    """Its input was trained on before."""


@dataclass(frozen=True, slots=True)
class NightRow:
    """One chain of runs."""

    id: int
    trigger_name: str | None
    """None where a person asked for it."""
    dataset: str
    spec: Mapping[str, Any]
    """A `NightSpec`."""
    fingerprint: str | None
    """Digest of what it trains on; of all nights that trained on it, one has it."""
    reason: str
    """Why it began, for people."""
    state: NightState
    summary: str
    """What it did, in one line."""
    created: float
    created_by: str
    ended: float | None
    told: float | None
    """When everyone had its message, None where nobody was to get one or not all have it."""


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """What begins nights by itself."""

    name: str
    spec: TriggerSpec
    created: float
    created_by: str
    next_time: float | None
    """When it fires next, None where no clock says so."""
    last_time: float | None
    """When it last fired."""
    last_night: int | None
    last_reason: str
    """What came of it: why the night began, or why none did."""
    state: Mapping[str, Any]
    """What it has seen of the things that it watches."""


def get_night(connection: sqlite3.Connection, night_id: int) -> NightRow:
    """Return a night.

    Raises
    ------
    UsageError
        There is none of this number.
    """
    row = connection.execute("SELECT * FROM nights WHERE id = ?", (night_id,)).fetchone()
    if row is None:
        raise UsageError(f"night {night_id}: no such night", remedy="crossan nights ls")
    return _night(row)


def list_nights(
    connection: sqlite3.Connection, *, before: int | None = None, limit: int = 100
) -> list[NightRow]:
    """Return nights, the newest first.

    Parameters
    ----------
    connection
        Of the database.
    before
        Those with a lower number alone, to go on from an earlier page.
    limit
        Nights at most.
    """
    rows = connection.execute(
        "SELECT * FROM nights WHERE ? IS NULL OR id < ? ORDER BY id DESC LIMIT ?",
        (before, before, limit),
    )
    return [_night(row) for row in rows]


def night_under_way(connection: sqlite3.Connection, dataset: str) -> int | None:
    """Return the newest night of a dataset that has not ended, None where all have."""
    row = connection.execute(
        "SELECT max(id) FROM nights WHERE dataset = ? AND state = ?", (dataset, NightState.RUNNING)
    ).fetchone()
    newest: int | None = row[0]
    return newest


def get_trigger(connection: sqlite3.Connection, name: str) -> TriggerRow:
    """Return a trigger.

    Raises
    ------
    UsageError
        There is none of this name.
    """
    row = connection.execute("SELECT * FROM triggers WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise UsageError(f"trigger {name!r:.80}: no such trigger", remedy="crossan triggers ls")
    return _trigger(row)


def list_triggers(connection: sqlite3.Connection) -> list[TriggerRow]:
    """Return all triggers, by name."""
    return [_trigger(row) for row in connection.execute("SELECT * FROM triggers ORDER BY name")]


def _night(row: sqlite3.Row) -> NightRow:
    fields = {name: row[name] for name in row.keys()}  # noqa: SIM118 - a Row iterates its values
    return NightRow(
        **{**fields, "spec": json.loads(row["spec"]), "state": NightState(row["state"])}
    )


def _trigger(row: sqlite3.Row) -> TriggerRow:
    return TriggerRow(
        name=row["name"],
        spec=TriggerSpec.model_validate_json(row["spec"]),
        created=row["created"],
        created_by=row["created_by"],
        next_time=row["next_time"],
        last_time=row["last_time"],
        last_night=row["last_night"],
        last_reason=row["last_reason"] or "",
        state=json.loads(row["state"]),
    )
