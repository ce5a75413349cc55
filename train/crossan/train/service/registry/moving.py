"""Moving an alias: compare and swap, with its record, in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from crossan.cache_schema.errors import BusyError, IncompatibleError
from crossan.train.service.registry.rows import Alias, Move, add_audit, read_alias

__all__ = ["move_alias", "require_revision", "version_before"]


def move_alias(connection: sqlite3.Connection, moved: Move, details: Mapping[str, Any]) -> Alias:
    """Move an alias and return it, within one transaction with the record of the move.

    Parameters
    ----------
    connection
        Of the database.
    moved
        The move, whose revision is the one after that which the caller has seen.
    details
        What the audit log keeps beside it.

    Raises
    ------
    BusyError
        The alias has another revision by now.
    """
    current = read_alias(connection, moved.name)
    require_revision(current, moved.name, moved.revision - 1)
    connection.execute(
        "INSERT OR REPLACE INTO aliases (name, version, revision, moved, moved_by)"
        " VALUES (?, ?, ?, ?, ?)",
        (moved.name, moved.version, moved.revision, moved.moved, moved.moved_by),
    )
    connection.execute(
        "INSERT INTO alias_moves (name, revision, version, action, moved, moved_by)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (moved.name, moved.revision, moved.version, moved.action, moved.moved, moved.moved_by),
    )
    before = None if current is None else current.version
    said = {"version": moved.version, "before": before, "revision": moved.revision, **details}
    subject = f"alias {moved.name}"
    add_audit(connection, moved.moved, moved.moved_by, moved.action, subject, said)
    return Alias(moved.name, moved.version, moved.revision, moved.moved, moved.moved_by)


def require_revision(current: Alias | None, name: str, expected: int) -> None:
    """Refuse to move an alias that somebody has moved since the caller looked."""
    revision = 0 if current is None else current.revision
    if revision != expected:
        raise BusyError(
            f"alias {name}: expected revision {expected}, found {revision}: it was moved meanwhile",
            remedy="Look at it again, then decide: crossan models ls",
        )


def version_before(connection: sqlite3.Connection, name: str) -> int:
    """Return the version that a rollback of an alias goes to.

    Each rollback takes back one promotion, so that several in a row go further and further back.

    Raises
    ------
    IncompatibleError
        There is none before.
    """
    rows = connection.execute(
        "SELECT version, action FROM alias_moves WHERE name = ? ORDER BY revision", (name,)
    )
    versions: list[int] = []
    for version, action in rows:
        if action == "rollback":
            versions.pop()
        elif versions[-1:] != [version]:
            versions.append(version)
    if len(versions) < 2:
        raise IncompatibleError(
            f"alias {name}: expected an earlier version to go back to, found none",
            remedy="crossan models ls",
        )
    return versions[-2]
