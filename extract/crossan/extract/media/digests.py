"""Content digests: what tells whether an item has to be computed again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from pathlib import Path

__all__ = ["content_digest", "text_digest"]

_FRESH_S = 2.0
"""A file changed this recently may change again within one tick of its file system's clock: not remembered."""

_LOCAL = threading.local()


def text_digest(title: str) -> str:
    """Return the sha256 of the UTF-8 title, hex."""
    return hashlib.sha256(title.encode()).hexdigest()


def content_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes, hex, remembered by path, size, times and inode.

    The memory is a SQLite file under ``XDG_CACHE_HOME`` that any number of
    processes may share; where it cannot be written, every file is read.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        key = (str(path.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        known = _recall(key)
        if known is not None:
            return known
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time() - max(stat.st_mtime, stat.st_ctime) > _FRESH_S:
            _remember(key, digest)
        return digest


def _recall(key: tuple[str, int, int, int, int]) -> str | None:
    connection = _connection()
    if connection is None:
        return None
    try:
        row = connection.execute(
            "SELECT sha256 FROM digests WHERE path = ? AND size = ? AND mtime = ? AND ctime = ? AND inode = ?", key
        ).fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else str(row[0])


def _remember(key: tuple[str, int, int, int, int], digest: str) -> None:
    connection = _connection()
    if connection is None:
        return
    try:
        with connection:
            connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", (*key, digest))
    except sqlite3.Error:
        return  # busy, full or read-only: the next run hashes the file again


def _connection() -> sqlite3.Connection | None:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossan"
    if getattr(_LOCAL, "folder", None) != folder:
        _LOCAL.folder, _LOCAL.connection = folder, _connect(folder)
    opened: sqlite3.Connection | None = _LOCAL.connection
    return opened


def _connect(folder: Path) -> sqlite3.Connection | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(folder / "digests.sqlite", timeout=5.0)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # a lost row costs one hashing
        connection.execute(
            "CREATE TABLE IF NOT EXISTS digests"
            " (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER, inode INTEGER, sha256 TEXT)"
        )
    except (OSError, sqlite3.Error):
        return None
    return connection
