"""A run of the queue as a row, and what the rows are read and written by."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from crossan.cache_schema.errors import BusyError, UsageError
from crossan.train.service.specs import Limits

__all__ = [
    "ENDED",
    "Order",
    "RunRow",
    "State",
    "Step",
    "get_run",
    "list_runs",
    "submit",
]


class State(StrEnum):
    """Where a run is between its submission and its end."""

    WAITING = "waiting"
    """For the run that it needs."""
    QUEUED = "queued"
    """For a slot."""
    RUNNING = "running"
    STOPPING = "stopping"
    """A client cancelled it, and some of its processes may live."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """There was nothing to do, or what it needs did not succeed."""


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SKIPPED})
"""States that never change again."""


class Step(StrEnum):
    """What a run does; a night has one of each."""

    UPDATE = "update"
    EXTRACT = "extract"
    TRAIN = "train"
    EVALUATE = "evaluate"
    GATE = "gate"
    REFIT = "refit"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of the queue."""

    id: int
    step: Step
    dataset: str
    spec: Mapping[str, Any]
    """A `RunSpec`, or for the runs of a night a `NightSpec`, with what its step needs beside it."""
    label: str
    state: State
    attempt: int
    """Number of the latest attempt, 0 before the first."""
    reason: str
    """Why it ended as it did, for people."""
    exit_code: int | None
    result: Mapping[str, Any] | None
    limits: Limits
    submitted_by: str
    created: float
    started: float | None
    ended: float | None
    night_id: int | None = None
    needs: int | None = None
    """The run that must succeed first."""
    about: int | None = None
    """The training that an evaluation, a gate, a refit or a promotion is about."""


@dataclass(frozen=True, slots=True)
class Order:
    """A run to be put into the queue."""

    step: Step
    dataset: str
    spec: Mapping[str, Any]
    limits: Limits
    submitted_by: str
    created: float
    label: str = ""
    night_id: int | None = None
    needs: int | None = None
    about: int | None = None
    idempotency_key: str | None = None
    """Of two orders of one client with the same key the second gives the run of the first."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What a step needs beside the spec, for example the modality of an extraction."""


def submit(connection: sqlite3.Connection, order: Order) -> tuple[RunRow, bool]:
    """Put a run into the queue and return it, and whether it is new.

    Raises
    ------
    BusyError
        The client's key belongs to a run of another spec.
    """
    spec = json.dumps({**order.spec, **order.extra}, sort_keys=True)
    state = State.QUEUED if order.needs is None else State.WAITING
    # The only thing that two runs may not share is their key, so no row means an earlier run.
    row = connection.execute(
        "INSERT INTO runs (night_id, needs, about, step, dataset, spec, label, state, cpus,"
        " memory_gib, gpus, submitted_by, idempotency_key, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING *",
        (
            order.night_id,
            order.needs,
            order.about,
            order.step,
            order.dataset,
            spec,
            order.label,
            state,
            order.limits.cpus,
            order.limits.memory_gib,
            order.limits.gpus,
            order.submitted_by,
            order.idempotency_key,
            order.created,
        ),
    ).fetchone()
    if row is not None:
        return _run(row), True
    earlier = connection.execute(
        "SELECT * FROM runs WHERE submitted_by = ? AND idempotency_key = ?",
        (order.submitted_by, order.idempotency_key),
    ).fetchone()
    if earlier["spec"] != spec:
        raise BusyError(
            f"idempotency key: run {earlier['id']} has it with another spec",
            remedy="Send another key, or the same spec",
        )
    return _run(earlier), False


def get_run(connection: sqlite3.Connection, run_id: int) -> RunRow:
    """Return a run.

    Raises
    ------
    UsageError
        There is none of this number.
    """
    row = connection.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        raise UsageError(f"run {run_id}: no such run", remedy="crossan runs ls")
    return _run(row)


def list_runs(
    connection: sqlite3.Connection,
    *,
    state: State | None = None,
    night_id: int | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[RunRow]:
    """Return runs, the newest first.

    Parameters
    ----------
    connection
        Of the database.
    state, night_id
        Those in this state, or of this night, alone.
    before
        Those with a lower number alone, to go on from an earlier page.
    limit
        Runs at most.
    """
    conditions = {"state = ?": state, "night_id = ?": night_id, "id < ?": before}
    given = {text: value for text, value in conditions.items() if value is not None}
    where = f"WHERE {' AND '.join(given)}" if given else ""
    rows = connection.execute(
        f"SELECT * FROM runs {where} ORDER BY id DESC LIMIT ?",  # noqa: S608 - our own text
        (*given.values(), limit),
    )
    return [_run(row) for row in rows]


def _run(row: sqlite3.Row) -> RunRow:
    spec = json.loads(row["spec"])
    return RunRow(
        id=row["id"],
        step=Step(row["step"]),
        dataset=row["dataset"],
        spec=spec,
        label=row["label"],
        state=State(row["state"]),
        attempt=row["attempt"],
        reason=row["reason"],
        exit_code=row["exit_code"],
        result=None if row["result"] is None else json.loads(row["result"]),
        limits=Limits.model_validate(spec["limits"]),
        submitted_by=row["submitted_by"],
        created=row["created"],
        started=row["started"],
        ended=row["ended"],
        night_id=row["night_id"],
        needs=row["needs"],
        about=row["about"],
    )
