"""What each page needs of a service, read in one view of its database where that matters."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from crossan.train.service.nights.rows import NightRow, get_night, list_nights, list_triggers
from crossan.train.service.queue.rows import RunRow, State, Step, list_runs
from crossan.train.service.registry import Move
from crossan.train.service.server import Service
from crossan.train.service.specs import PRODUCTION
from crossan.train.service.web.pages.attempt_rows import read_attempts
from crossan.train.service.web.pages.overview import (
    Overview,
    Production,
    RunningRun,
    slots_of,
)
from crossan.train.service.web.pages.run_pages import RunDetails
from crossan.train.service.web.pages.traces import (
    heartbeat_time,
    log_tail,
    progress_of,
    read_curve,
)

__all__ = [
    "all_moves",
    "finished_trainings",
    "last_nights",
    "overview_of",
    "production_of",
    "run_details",
    "running_of",
    "steps_of",
]

_LOG_LINES = 60
_ENDED_SHOWN, _NIGHTS_SHOWN, _LATEST = 6, 7, 60
_STEPS = 100


def overview_of(service: Service) -> Overview:
    """Return all that the first page shows."""
    counts = service.scheduler.counts()

    def read(connection: sqlite3.Connection) -> Overview:
        running = _in_state(connection, State.RUNNING, State.STOPPING)
        waiting = _in_state(connection, State.QUEUED, State.WAITING)
        latest = list_runs(connection, limit=_LATEST)
        ended = [run for run in latest if run.ended is not None]
        ended.sort(key=lambda run: run.ended or 0.0, reverse=True)
        nights = list_nights(connection, limit=_NIGHTS_SHOWN)
        return Overview(
            slots=slots_of(counts.used, counts.total),
            running=running_of(service, running),
            waiting=waiting,
            ended=ended[:_ENDED_SHOWN],
            nights=nights,
            steps=steps_of(connection, nights[0].id) if nights else (),
            triggers=list_triggers(connection),
        )

    return replace(service.database.read(read), production=production_of(service))


def production_of(service: Service) -> Production | None:
    """Return the model in production, None where there is none."""
    alias = service.registry.alias(PRODUCTION)
    if alias is None:
        return None
    model = service.registry.get(alias.version)
    return Production(model, alias, service.serving.loaded(), service.serving.problem())


def run_details(service: Service, run: RunRow) -> RunDetails:
    """Return what the page of a run shows beside its row."""
    attempts, version = service.database.read(
        lambda connection: (read_attempts(connection, run.id), _version_of(connection, run.id))
    )
    newest = service.folder.attempt(run.id, run.attempt)
    return RunDetails(
        attempts=attempts,
        curve=read_curve(service.folder.output(run.id)),
        log=log_tail(newest / "output.log", _LOG_LINES) if run.attempt else [],
        heartbeat=heartbeat_time(newest) if run.attempt else None,
        version=version,
    )


def last_nights(connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, NightRow]:
    """Return nights by their numbers."""
    return {number: get_night(connection, number) for number in numbers}


def steps_of(connection: sqlite3.Connection, night_id: int) -> list[RunRow]:
    """Return the runs of a night, in the order in which they run."""
    runs = list_runs(connection, night_id=night_id, limit=_STEPS)
    return sorted(runs, key=lambda run: run.id)


def finished_trainings(connection: sqlite3.Connection, limit: int = 100) -> list[RunRow]:
    """Return trainings that succeeded, the newest first.

    Parameters
    ----------
    connection
        Of the database.
    limit
        Runs at most; of nights, only the training counts.
    """
    runs = list_runs(connection, state=State.SUCCEEDED, limit=4 * limit)
    return [run for run in runs if run.step is Step.TRAIN][:limit]


def all_moves(service: Service, limit: int = 50) -> list[Move]:
    """Return the moves of all aliases, the newest first."""
    moves = [
        move
        for alias in service.registry.aliases()
        for move in service.registry.moves(alias.name, limit=limit)
    ]
    return sorted(moves, key=lambda move: move.moved, reverse=True)[:limit]


def _in_state(connection: sqlite3.Connection, *states: State) -> list[RunRow]:
    runs = [run for state in states for run in list_runs(connection, state=state, limit=500)]
    return sorted(runs, key=lambda run: run.id)


def running_of(service: Service, runs: Sequence[RunRow]) -> list[RunningRun]:
    """Return those of some runs that go on, each with how far it has come."""
    return [_running(service, run) for run in runs if run.state in (State.RUNNING, State.STOPPING)]


def _running(service: Service, run: RunRow) -> RunningRun:
    lines = log_tail(service.folder.attempt(run.id, run.attempt) / "output.log", 1)
    curve = read_curve(service.folder.output(run.id))
    return RunningRun(
        run, progress_of(curve, run.spec.get("settings", {})), lines[-1] if lines else ""
    )


def _version_of(connection: sqlite3.Connection, run_id: int) -> int | None:
    row = connection.execute("SELECT version FROM models WHERE run_id = ?", (run_id,)).fetchone()
    return None if row is None else int(row["version"])
