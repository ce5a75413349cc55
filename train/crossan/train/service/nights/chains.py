"""A night as a chain of runs: how it begins, and how it ends.

It begins in one transaction and ends in the transaction that records the end of its last run, so
that a server which dies at any moment leaves either the whole chain or none of it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crossan.cache_schema.errors import BusyError
from crossan.train.service.nights.rows import NightRow, NightState, get_night
from crossan.train.service.nights.summaries import state_of, summary_of
from crossan.train.service.queue.rows import ENDED, Order, RunRow, Step, list_runs, submit
from crossan.train.service.specs import Limits, NightSpec

__all__ = [
    "Beginning",
    "NothingNewError",
    "begin_night",
    "end_night",
    "extras_of",
    "note_input",
    "spec_of",
]

_MOST_RUNS = 32
"""More than any chain has."""
_LIGHT_STEPS = {Step.UPDATE, Step.GATE, Step.PROMOTE}
"""Steps that need one core and no GPU."""


class NothingNewError(BusyError):
    """A night has trained on the same input, or is about to."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Why a night begins, and for whom."""

    actor: str
    reason: str
    now: float
    trigger: str | None = None
    fingerprint: str | None = None
    """Digest of its input; None to begin whatever was trained on before."""


def begin_night(connection: sqlite3.Connection, spec: NightSpec, beginning: Beginning) -> NightRow:
    """Put the runs of a night into the queue, within the transaction of the connection.

    Raises
    ------
    NothingNewError
        Another night has the same fingerprint.
    """
    if beginning.fingerprint is not None:
        _require_new(connection, beginning.fingerprint)
    night_id = connection.execute(
        "INSERT INTO nights (trigger_name, dataset, spec, fingerprint, reason, state, created,"
        " created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            beginning.trigger,
            spec.dataset,
            spec.model_dump_json(),
            beginning.fingerprint,
            beginning.reason,
            NightState.RUNNING,
            beginning.now,
            beginning.actor,
        ),
    ).lastrowid
    assert night_id is not None
    needs = training = None
    for step, extra in _steps_of(spec):
        run, _ = submit(
            connection, _order(spec, beginning, step, extra, (night_id, needs, training))
        )
        needs = run.id
        if step is Step.TRAIN:
            training = run.id
    return get_night(connection, night_id)


def note_input(connection: sqlite3.Connection, night_id: int, fingerprint: str) -> None:
    """Record what a night trains on, once its update and its extractions have ended.

    Raises
    ------
    NothingNewError
        Another night has trained on it, and this one was not asked for all the same.
    """
    night = get_night(connection, night_id)
    if night.fingerprint == fingerprint:
        return
    try:
        _require_new(connection, fingerprint)
    except NothingNewError:
        if night.fingerprint is None:
            return
        raise
    connection.execute("UPDATE nights SET fingerprint = ? WHERE id = ?", (fingerprint, night_id))


def end_night(connection: sqlite3.Connection, run: RunRow, now: float) -> NightRow | None:
    """End the night of a run that ended, if it was the last one; return the night then.

    A night that failed or was cancelled gives its fingerprint back: the same input may be tried
    again.
    """
    if run.night_id is None:
        return None
    runs = list_runs(connection, night_id=run.night_id, limit=_MOST_RUNS)
    night = get_night(connection, run.night_id)
    if night.state is not NightState.RUNNING or any(one.state not in ENDED for one in runs):
        return None
    runs.reverse()
    state = state_of(runs)
    is_void = state in {NightState.FAILED, NightState.CANCELLED}
    connection.execute(
        "UPDATE nights SET state = ?, summary = ?, ended = ?, fingerprint = ? WHERE id = ?",
        (
            state,
            summary_of(state, runs, now - night.created),
            now,
            None if is_void else night.fingerprint,
            night.id,
        ),
    )
    return get_night(connection, night.id)


def extras_of(run: RunRow) -> dict[str, Any]:
    """Return what a step has beside the fields of its spec."""
    return {name: value for name, value in run.spec.items() if name not in NightSpec.model_fields}


def _require_new(connection: sqlite3.Connection, fingerprint: str) -> None:
    row = connection.execute(
        "SELECT id, state FROM nights WHERE fingerprint = ?", (fingerprint,)
    ).fetchone()
    if row is not None:
        has = "trains" if row["state"] == NightState.RUNNING else "has trained"
        raise NothingNewError(
            f"nothing new: night {row['id']} {has} on the same dataset, stores and settings",
            remedy="Begin it by hand to train again all the same: crossan nights begin",
        )


def _steps_of(spec: NightSpec) -> Iterator[tuple[Step, dict[str, Any]]]:
    """Yield the steps of a night in their order, each with what it needs beside the spec."""
    if spec.update:
        yield Step.UPDATE, {}
    for modality in spec.extract:
        yield Step.EXTRACT, {"modality": modality.value}
    yield Step.TRAIN, {}
    yield Step.EVALUATE, {}
    yield Step.GATE, {}
    if spec.refit != "none":
        yield Step.REFIT, {}
    yield Step.PROMOTE, {}


def _order(
    spec: NightSpec,
    beginning: Beginning,
    step: Step,
    extra: dict[str, Any],
    after: tuple[int, int | None, int | None],
) -> Order:
    night_id, needs, training = after
    limits = spec.limits
    if step in _LIGHT_STEPS:
        limits = limits.model_copy(update={"cpus": 1, "gpus": 0})
    fields = spec.model_dump(mode="json") | {"limits": limits.model_dump(mode="json")}
    return Order(
        step=step,
        dataset=spec.dataset,
        spec=fields,
        limits=Limits.model_validate(fields["limits"]),
        submitted_by=beginning.actor,
        created=beginning.now,
        label=spec.label,
        night_id=night_id,
        needs=needs,
        about=training,
        extra=extra,
    )


def spec_of(run: RunRow) -> NightSpec:
    """Return the spec of a night's run without what its step has beside it."""
    fields = {name: value for name, value in run.spec.items() if name in NightSpec.model_fields}
    return NightSpec.model_validate_json(json.dumps(fields))
