"""Versions, aliases and entries of the audit log as rows of the database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import UsageError
from crossan.train.service.folder import ServiceFolder

__all__ = [
    "REFIT_FOLDER",
    "Alias",
    "AuditEntry",
    "Model",
    "Move",
    "add_audit",
    "alias_of",
    "audit_entries",
    "model_of",
    "model_rows",
    "moves_of",
    "read_alias",
    "read_model",
]

REFIT_FOLDER = "refit"
"""Where the refit of a run lies in the folder of the run, as ``crossan-train --refit`` writes it."""


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model, which never changes."""

    version: int
    run_id: int
    """The training whose figures are the version's."""
    night_id: int | None
    dataset: str
    card: Mapping[str, Any]
    created: float
    created_by: str
    folder: Path

    @property
    def judged_run(self) -> Path:
        """Run folder of the weights that the figures are of."""
        return self.folder / "judged"

    @property
    def served_run(self) -> Path:
        """Run folder of the weights that answer; that of the judged ones without a refit."""
        refit = self.judged_run / REFIT_FOLDER
        return refit if self.card["served"]["is_refitted"] else self.judged_run


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that stands for one version at a time."""

    name: str
    version: int
    revision: int
    """Counts the moves, from 1."""
    moved: float
    moved_by: str


@dataclass(frozen=True, slots=True)
class Move:
    """One move of an alias."""

    name: str
    revision: int
    version: int
    action: str
    """``promote`` or ``rollback``."""
    moved: float
    moved_by: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, and when."""

    id: int
    at: float
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any]


def model_of(row: sqlite3.Row, folder: ServiceFolder) -> Model:
    """Return a row of ``models`` as a version."""
    return Model(
        version=row["version"],
        run_id=row["run_id"],
        night_id=row["night_id"],
        dataset=row["dataset"],
        card=json.loads(row["card"]),
        created=row["created"],
        created_by=row["created_by"],
        folder=folder.model(row["version"]),
    )


def read_model(connection: sqlite3.Connection, version: int, folder: ServiceFolder) -> Model:
    """Return a version.

    Raises
    ------
    UsageError
        There is none of this number.
    """
    row = connection.execute("SELECT * FROM models WHERE version = ?", (version,)).fetchone()
    if row is None:
        raise UsageError(f"model {version}: no such version", remedy="crossan models ls")
    return model_of(row, folder)


def model_rows(connection: sqlite3.Connection, before: int | None, limit: int) -> list[sqlite3.Row]:
    """Return rows of ``models``, the newest first.

    Parameters
    ----------
    connection
        Of the database.
    before
        Those with a lower version alone, None for all.
    limit
        Rows at most.
    """
    where, values = ("", ()) if before is None else ("WHERE version < ?", (before,))
    return connection.execute(
        f"SELECT * FROM models {where} ORDER BY version DESC LIMIT ?",  # noqa: S608 - our own text
        (*values, limit),
    ).fetchall()


def alias_of(row: sqlite3.Row) -> Alias:
    """Return a row of ``aliases`` as an alias."""
    return Alias(row["name"], row["version"], row["revision"], row["moved"], row["moved_by"])


def read_alias(connection: sqlite3.Connection, name: str) -> Alias | None:
    """Return an alias, None where it was never moved."""
    row = connection.execute("SELECT * FROM aliases WHERE name = ?", (name,)).fetchone()
    return None if row is None else alias_of(row)


def moves_of(connection: sqlite3.Connection, name: str, limit: int) -> list[Move]:
    """Return the moves of an alias, the latest first."""
    rows = connection.execute(
        "SELECT * FROM alias_moves WHERE name = ? ORDER BY revision DESC LIMIT ?", (name, limit)
    )
    return [
        Move(
            row["name"],
            row["revision"],
            row["version"],
            row["action"],
            row["moved"],
            row["moved_by"],
        )
        for row in rows
    ]


def add_audit(
    connection: sqlite3.Connection,
    at: float,
    actor: str,
    action: str,
    subject: str,
    details: Mapping[str, Any],
) -> None:
    """Add an entry to the audit log, within the transaction of what it tells."""
    connection.execute(
        "INSERT INTO audit (at, actor, action, subject, details) VALUES (?, ?, ?, ?, ?)",
        (at, actor, action, subject, json.dumps(details)),
    )


def audit_entries(
    connection: sqlite3.Connection, before: int | None, limit: int
) -> list[AuditEntry]:
    """Return entries of the audit log, the newest first; ``before`` as for `model_rows`."""
    where, values = ("", ()) if before is None else ("WHERE id < ?", (before,))
    rows = connection.execute(
        f"SELECT * FROM audit {where} ORDER BY id DESC LIMIT ?",  # noqa: S608 - our own text
        (*values, limit),
    )
    return [
        AuditEntry(
            row["id"],
            row["at"],
            row["actor"],
            row["action"],
            row["subject"],
            json.loads(row["details"]),
        )
        for row in rows
    ]
