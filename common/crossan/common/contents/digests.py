"""Compute content digests, which tell whether an item has to be computed again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

__all__ = ["content_digest", "text_digest"]

_FRESH_S = 2.0
"""Age in seconds below which a file's digest is not remembered.

Such a file may change again within one tick of its file system's clock.
"""

_SMALL_BYTES = 1 << 20
"""Size below which hashing is quicker than a look into the memory.

3,518 files of 26 MB in all take 0.08 s to hash and 0.42 s to recall.
"""

_Key = tuple[bytes, int, int, int, int]
"""Path, size, modification and change time, inode."""


def text_digest(title: str) -> str:
    """Return the SHA-256 of the UTF-8 title, hex."""
    return hashlib.sha256(title.encode()).hexdigest()


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hex.

    Large files are remembered by path, size, times and inode. The memory is a
    SQLite file under ``XDG_CACHE_HOME`` that any number of processes and threads
    may share. Where it cannot be written, every file is read.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        if stat.st_size < _SMALL_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        key = (
            os.fsencode(path.absolute()),
            stat.st_size,
            stat.st_mtime_ns,
            stat.st_ctime_ns,
            stat.st_ino,
        )
        known = _recall(key)
        if known is not None:
            return known
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time() - max(stat.st_mtime, stat.st_ctime) > _FRESH_S:
            _remember(key, digest)
        return digest


def _recall(key: _Key) -> str | None:
    try:
        with closing(_connect()) as connection:
            row = connection.execute(
                "SELECT sha256 FROM digests"
                " WHERE path = ? AND size = ? AND mtime = ? AND ctime = ? AND inode = ?",
                key,
            ).fetchone()
    except (OSError, sqlite3.Error):
        # There is no memory, or none yet.
        return None
    return None if row is None else str(row[0])


def _remember(key: _Key, digest: str) -> None:
    try:
        with closing(_connect()) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS digests"
                " (path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER,"
                " inode INTEGER, sha256 TEXT)"
            )
            connection.execute(
                "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", (*key, digest)
            )
    except (OSError, sqlite3.Error):
        # Busy, full or read-only. The next run hashes the file again.
        return


def _connect() -> sqlite3.Connection:
    """Open the memory anew."""
    # Each time, because a connection may cross neither threads nor a fork; opening one costs a
    # fraction of a hash.
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossan"
    folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(folder / "digests.sqlite", timeout=5.0)
    connection.execute("PRAGMA journal_mode = WAL")
    # Not synced: a lost row costs one hashing.
    connection.execute("PRAGMA synchronous = OFF")
    return connection
