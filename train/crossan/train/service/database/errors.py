"""What may be wrong with the database, as errors that a server can answer with."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from crossan.cache_schema.errors import ResourceError

__all__ = ["DatabaseUnusableError", "DiskFullError", "explained", "is_damage"]

_NO_ROOM = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"}
"""What SQLite answers when the database, its log or the index of the log cannot grow."""


class DiskFullError(ResourceError):
    """The database cannot grow: nothing was written, and what it holds is as it was."""


class DatabaseUnusableError(ResourceError):
    """The database is damaged, read-only or locked by another program."""


def explained(error: sqlite3.Error, path: Path) -> Exception:
    """Return what to raise for an error of SQLite, the error itself where it is a bug of ours.

    Parameters
    ----------
    error
        What SQLite raised.
    path
        The database.
    """
    name = getattr(error, "sqlite_errorname", "") or ""
    if name in _NO_ROOM:
        return DiskFullError(
            f"{path}: no space is left to write to the database",
            remedy=f"Free some space on the file system of {path.parent}",
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")):
        return DatabaseUnusableError(
            f"{path}: the system refuses to write the database: {error}",
            remedy=f"Make {path.parent} writable for the service",
        )
    if is_damage(error):
        return DatabaseUnusableError(
            f"{path}: expected a sound SQLite database, found a damaged one: {error}",
            remedy=f"crossan serve --data {path.parent} --restore newest",
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return DatabaseUnusableError(
            f"{path}: another program holds the database: {error}",
            remedy="End the program that has opened the database",
        )
    return error


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error of SQLite says that the database is damaged."""
    return _name(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "") or ""
