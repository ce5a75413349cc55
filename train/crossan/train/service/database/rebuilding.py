"""Finds runs again that a restored database does not know, from what lies in their folders."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.train.service.database.run_files import read_attempts, read_run
from crossan.train.service.folder import ServiceFolder

__all__ = ["Rebuilt", "rebuild_runs"]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a restored database knows again, and what it cannot know."""

    added: tuple[int, ...] = ()
    """Runs that were submitted after the backup."""
    advanced: tuple[int, ...] = ()
    """Runs that began or ended after the backup."""
    unreadable: tuple[int, ...] = ()
    """Folders of runs that tell nothing, as their ``run.json`` is missing or damaged."""
    missing: tuple[int, ...] = ()
    """Numbers of runs that neither the backup nor a folder knows."""
    models: tuple[int, ...] = ()
    """Folders of model versions that the backup does not know."""


def rebuild_runs(connection: sqlite3.Connection, folder: ServiceFolder) -> Rebuilt:
    """Bring the tables of runs, attempts and nights up to what the folders of runs tell.

    A run that had begun and whose end is not known is put under way with its latest attempt: the
    scheduler looks whether that lives, as it does after a server was killed. Numbers of runs and
    models whose folders exist are never given again.
    """
    connection.execute("PRAGMA defer_foreign_keys = ON")
    rows = connection.execute("SELECT id, ended, attempt, state FROM runs").fetchall()
    known = {row["id"]: row for row in rows}
    added, advanced, unreadable = [], [], []
    for run_id in (numbers := _numbers(folder.path / "runs")):
        if run_id in known and known[run_id]["ended"] is not None:
            continue
        record = read_run(folder.run(run_id))
        if record is None:
            if run_id not in known:
                unreadable.append(run_id)
            continue
        attempts = read_attempts(folder.run(run_id))
        row = _as_it_is(record["run"], attempts, folder.run(run_id))
        if run_id not in known:
            _add_night(connection, record.get("night"))
            _insert(connection, "runs", row, "INSERT")
            added.append(run_id)
        elif row["ended"] is not None or row["attempt"] > known[run_id]["attempt"]:
            _add_night(connection, record.get("night"))
            _insert(connection, "runs", row, "REPLACE")
            advanced.append(run_id)
        _add_attempts(connection, row, attempts)
    _end_orphans(connection)
    models = _unknown_models(connection, folder)
    _reserve(connection, "runs", numbers)
    _reserve(connection, "models", models)
    highest = max([*numbers, *known], default=0)
    missing = set(range(1, highest + 1)) - set(known) - set(numbers)
    return Rebuilt(
        tuple(added), tuple(advanced), tuple(unreadable), tuple(sorted(missing)), tuple(models)
    )


def _as_it_is(
    row: Mapping[str, Any], attempts: Mapping[int, Mapping[str, Any]], path: Path
) -> dict[str, Any]:
    """Return the row of a run, whose file may be older than its latest attempt."""
    latest = max(attempts, default=0)
    if row["ended"] is not None or latest == 0:
        return dict(row)
    is_cancelled = (path / f"attempt-{latest}" / "stop").exists()
    return {
        **row,
        "attempt": latest,
        "started": row["started"] or attempts[min(attempts)]["started"],
        "state": "stopping" if is_cancelled else "running",
        "reason": "cancelled" if is_cancelled else "",
    }


def _add_night(connection: sqlite3.Connection, night: Mapping[str, Any] | None) -> None:
    """Add the night of a run, or its end where the file of its last run tells it."""
    if night is None:
        return
    known = connection.execute("SELECT ended FROM nights WHERE id = ?", (night["id"],)).fetchone()
    if known is None:
        _insert(connection, "nights", night, "INSERT")
    elif known["ended"] is None and night["ended"] is not None:
        _insert(connection, "nights", night, "REPLACE")


def _add_attempts(
    connection: sqlite3.Connection,
    run: Mapping[str, Any],
    attempts: Mapping[int, Mapping[str, Any]],
) -> None:
    """Add the attempts at a run; the scheduler itself finds out how the latest one ended."""
    for number, attempt in attempts.items():
        has_ended = run["ended"] is not None or number < run["attempt"]
        outcome = attempt.get("outcome", {"reason": "lost"}) if has_ended else None
        seconds = 0.0 if outcome is None else outcome.get("seconds", 0.0)
        connection.execute(
            "INSERT OR IGNORE INTO attempts"
            " (run_id, number, executor, devices, started, ended, outcome)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                run["id"],
                number,
                attempt["executor"],
                json.dumps(attempt["devices"]),
                attempt["started"],
                attempt["started"] + seconds if has_ended else None,
                None if outcome is None else json.dumps(outcome),
            ),
        )


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any], verb: str) -> None:
    """Add or replace a row; columns that this version does not have are left out."""
    columns = {column["name"] for column in connection.execute(f"PRAGMA table_info({table})")}
    names = [name for name in row if name in columns]
    marks = ", ".join("?" * len(names))
    connection.execute(
        f"{verb} INTO {table} ({', '.join(names)}) VALUES ({marks})",
        [row[name] for name in names],
    )


def _end_orphans(connection: sqlite3.Connection) -> None:
    """End what waits for a run that nobody knows any more."""
    connection.execute(
        "UPDATE runs SET state = 'failed', ended = created,"
        " reason = 'needs run ' || needs || ', which the restored database does not know'"
        " WHERE state = 'waiting' AND needs NOT IN (SELECT id FROM runs)"
    )
    connection.execute("UPDATE runs SET needs = NULL WHERE needs NOT IN (SELECT id FROM runs)")
    connection.execute("UPDATE runs SET about = NULL WHERE about NOT IN (SELECT id FROM runs)")


def _unknown_models(connection: sqlite3.Connection, folder: ServiceFolder) -> list[int]:
    known = {row["version"] for row in connection.execute("SELECT version FROM models")}
    return [number for number in _numbers(folder.models) if number not in known]


def _numbers(path: Path) -> list[int]:
    if not path.is_dir():
        return []
    return sorted(int(entry.name) for entry in path.iterdir() if entry.name.isdecimal())


def _reserve(connection: sqlite3.Connection, table: str, numbers: list[int]) -> None:
    """Have the table give none of these numbers to a new row."""
    highest = max(numbers, default=0)
    counted = connection.execute(
        "UPDATE sqlite_sequence SET seq = MAX(seq, ?) WHERE name = ?", (highest, table)
    )
    if counted.rowcount == 0:
        connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, highest))
