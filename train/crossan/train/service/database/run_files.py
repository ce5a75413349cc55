"""What the folder of a run tells of it, should the database be lost after its last backup."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from crossan.common.files import replace_unsynced
from crossan.common.refusals import make_folder
from crossan.train.service.database.schema import SCHEMA_VERSION
from crossan.train.service.folder import ServiceFolder

__all__ = [
    "has_record",
    "read_attempts",
    "read_run",
    "run_records",
    "write_attempt",
    "write_run",
]

_RUN = "run.json"
_ATTEMPT = "attempt.json"
_OUTCOME = "outcome.json"
"""Written by whatever ran the attempt."""


def run_records(
    connection: sqlite3.Connection, above: int, run_ids: Sequence[int], limit: int
) -> Iterator[dict[str, Any]]:
    """Yield what to write of runs.

    Parameters
    ----------
    connection
        Of the database.
    above
        Runs of a higher number are taken, the lowest first.
    run_ids
        Runs that are taken whatever their number is.
    limit
        Runs of a higher number that are taken at most.
    """
    marks = ", ".join("?" * len(run_ids))
    rows = connection.execute(
        f"SELECT * FROM runs WHERE id IN ({marks}) UNION"  # noqa: S608 - question marks alone
        " SELECT * FROM (SELECT * FROM runs WHERE id > ? ORDER BY id LIMIT ?)",
        (*run_ids, above, limit),
    ).fetchall()
    for row in rows:
        night = connection.execute(
            "SELECT * FROM nights WHERE id = ?", (row["night_id"],)
        ).fetchone()
        yield {
            "schema": SCHEMA_VERSION,
            "run": dict(row),
            "night": None if night is None else dict(night),
        }


def write_run(folder: ServiceFolder, record: dict[str, Any]) -> None:
    """Write what `run_records` yielded of a run into its folder.

    It is not synced: it is for a database that is damaged, not for a machine that stops.

    Raises
    ------
    ResourceError
        The system refuses.
    """
    path = folder.run(record["run"]["id"])
    make_folder(path)
    replace_unsynced(path / _RUN, json.dumps(record).encode())


def has_record(folder: ServiceFolder, run_id: int) -> bool:
    """Return whether the folder of a run tells of it."""
    return (folder.run(run_id) / _RUN).is_file()


def write_attempt(folder: Path, executor: str, devices: Sequence[int], started: float) -> None:
    """Write what a database needs to know of an attempt into its folder, before it starts.

    Raises
    ------
    ResourceError
        The system refuses.
    """
    make_folder(folder)
    attempt = {"executor": executor, "devices": list(devices), "started": started}
    replace_unsynced(folder / _ATTEMPT, json.dumps(attempt).encode())


def read_run(path: Path) -> dict[str, Any] | None:
    """Return what `write_run` wrote into a run's folder, None where nothing of use is there."""
    record = _read(path / _RUN)
    return record if isinstance(record.get("run"), dict) else None


def read_attempts(path: Path) -> dict[int, dict[str, Any]]:
    """Return the attempts that a run's folder tells of, by their number.

    One that ended has its ``outcome`` with it.
    """
    attempts = {}
    for folder in path.glob("attempt-*"):
        number = folder.name.removeprefix("attempt-")
        attempt = _read(folder / _ATTEMPT)
        if number.isdecimal() and attempt:
            outcome = _read(folder / _OUTCOME)
            attempts[int(number)] = attempt | ({"outcome": outcome} if outcome else {})
    return dict(sorted(attempts.items()))


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}
