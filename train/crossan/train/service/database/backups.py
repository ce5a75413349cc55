"""Copies of the database: made while the service runs, and put in its place when it is damaged."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from crossan.cache_schema.errors import CrossanError, DataError, UsageError
from crossan.common.files import fsync_folder
from crossan.common.refusals import blaming, make_folder
from crossan.train.service.database.connection import Database
from crossan.train.service.database.rebuilding import Rebuilt, rebuild_runs
from crossan.train.service.database.schema import SCHEMA_VERSION
from crossan.train.service.folder import ServiceFolder

__all__ = ["NEWEST", "Backups", "Restored", "back_up", "explain", "list_backups", "restore"]

NEWEST = "newest"
"""Names the newest sound backup."""

_NAME = re.compile(r"(\d{6})-\d{8}T\d{6}Z\.sqlite3")
_FIRST_AFTER_SECONDS = 60.0
_logger = logging.getLogger(__name__)


class Backups:
    """Makes a copy from time to time, in a thread of its own.

    Parameters
    ----------
    database, folder
        What is copied, and where the copies go.
    minutes
        Minutes between two copies.
    kept
        Copies that are kept, the newest ones.
    clock
        Returns the time that copies are named by, in seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        folder: ServiceFolder,
        *,
        minutes: float,
        kept: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._folder, self._kept, self._clock = database, folder, kept, clock
        self._seconds = minutes * 60
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backups", daemon=True)

    def start(self) -> None:
        """Begin; the first copy comes after a minute."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the copy in hand."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = min(_FIRST_AFTER_SECONDS, self._seconds)
        while not self._is_stopping.wait(pause):
            pause = self._seconds
            try:
                back_up(self._database, self._folder, kept=self._kept, now=self._clock())
            except CrossanError as error:
                _logger.error("no backup could be made: %s", error)


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put in the place of a damaged database, and what is known again."""

    backup: Path
    kept_as: Path | None
    """Where the database of before lies now, None where there was none."""
    unsound: tuple[Path, ...] = ()
    """Newer backups that are damaged, too."""
    rebuilt: Rebuilt = field(default_factory=Rebuilt)
    """Runs that the backup does not know, or knows as they were, found again from their folders."""


def back_up(database: Database, folder: ServiceFolder, *, kept: int, now: float) -> Path:
    """Copy the database as it is now, and return the copy.

    It appears whole and checked, or not at all.

    Parameters
    ----------
    database, folder
        What is copied, and where the copies go.
    kept
        Copies that are kept, this one among them; older ones go.
    now
        Seconds since 1970.

    Raises
    ------
    ResourceError
        The system refuses to write it.
    """
    make_folder(folder.backups)
    earlier = list_backups(folder)
    number = _number(earlier[-1]) + 1 if earlier else 1
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    path = folder.backups / f"{number:06d}-{moment}.sqlite3"
    partial = path.with_suffix(".partial")
    for left in folder.backups.glob("*.partial*"):  # of a server that was killed
        left.unlink(missing_ok=True)
    try:
        database.back_up(partial)
        _require_sound(partial)
        with blaming(path):
            descriptor = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            partial.rename(path)
        fsync_folder(folder.backups)
    finally:
        with blaming(path):
            partial.unlink(missing_ok=True)
    for old in [*earlier, path][:-kept]:
        with blaming(old):
            old.unlink(missing_ok=True)
    return path


def list_backups(folder: ServiceFolder) -> list[Path]:
    """Return the copies of the database, the newest last."""
    with suppress(FileNotFoundError):
        paths = [path for path in folder.backups.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(paths, key=_number)
    return []


def restore(folder: ServiceFolder, which: str) -> Restored:
    """Put a backup in the place of the database, which is kept beside it under another name.

    Runs whose folders are newer than the backup are found again from what lies in them. Nothing
    else may use the data folder meanwhile: whoever calls this has claimed it.

    Parameters
    ----------
    folder
        The data folder.
    which
        Name of a file in its folder of backups, or ``newest``.

    Raises
    ------
    UsageError
        There is no such backup.
    DataError
        It is damaged.
    ResourceError
        The system refuses to write.
    """
    backup, unsound = _choose(folder, which)
    fresh = folder.database.with_suffix(".restoring")
    with blaming(folder.database):
        _copy(backup, fresh)
        kept_as = _set_aside(folder.database)
        fresh.replace(folder.database)
    fsync_folder(folder.path)
    with closing(Database(folder.database)) as database:
        rebuilt = database.write(lambda connection: rebuild_runs(connection, folder))
    return Restored(backup, kept_as, unsound, rebuilt)


def explain(restored: Restored) -> list[str]:
    """Return what people need to know after `restore`, a line each."""
    database = restored.backup.parent.parent / "service.sqlite3"
    lines = [f"{database}: now as in the backup {restored.backup.name}"]
    if restored.kept_as is not None:
        lines.append(f"The database of before is kept as {restored.kept_as}")
    if restored.unsound:
        names = ", ".join(path.name for path in restored.unsound)
        lines.append(f"Newer backups are damaged and were passed over: {names}")
    rebuilt = restored.rebuilt
    counted = [
        (rebuilt.added, "run was", "runs were", "found again from their folders"),
        (rebuilt.advanced, "run was", "runs were", "brought up to their folders"),
        (rebuilt.unreadable, "folder of a run tells", "folders of runs tell", "nothing"),
        (rebuilt.missing, "run is", "runs are", "lost: neither the backup nor a folder knows them"),
        (rebuilt.models, "model version is", "model versions are", "not known to the backup"),
    ]
    for numbers, one, many, what in counted:
        if numbers:
            subject = one if len(numbers) == 1 else many
            lines.append(f"{len(numbers)} {subject} {what}: {_ranges(numbers)}")
    lines.append(
        "Triggers, aliases and lines of the audit log that are newer than the backup are lost"
    )
    return lines


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers in rising order in words, for example ``3 to 5, 9``."""
    texts, first = [], numbers[0]
    for number, following in pairwise([*numbers, -1]):
        if following != number + 1:
            texts.append(str(first) if first == number else f"{first} to {number}")
            first = following
    return ", ".join(texts)


def _choose(folder: ServiceFolder, which: str) -> tuple[Path, tuple[Path, ...]]:
    """Return the backup of a name, and those that were passed over as they are damaged."""
    backups = list_backups(folder)
    if which != NEWEST:
        backups = [path for path in backups if path.name == which]
    unsound: list[Path] = []
    for path in reversed(backups):
        try:
            _require_sound(path)
        except DataError:
            unsound.append(path)
        else:
            return path, tuple(unsound)
    if unsound:
        raise DataError(
            f"--restore {which}: expected a sound backup in {folder.backups}, found"
            f" {len(unsound)} damaged"
        )
    names = ", ".join(path.name for path in list_backups(folder)) or "no backup at all"
    raise UsageError(
        f"--restore {which}: expected the name of a file in {folder.backups}, found {names}",
        remedy=f"crossan serve --data {folder.path} --restore {NEWEST}",
    )


def _require_sound(path: Path) -> None:
    """Check a copy, and make it one file that needs no log beside it."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        problem, version = str(error), 0
    if problem != "ok" or not 1 <= version <= SCHEMA_VERSION:
        raise DataError(f"{path}: expected a sound copy of the database, found {problem}")


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)  # of a restore that was killed
    with source.open("rb") as reading, target.open("xb") as writing:
        while block := reading.read(2**20):
            writing.write(block)
        writing.flush()
        os.fsync(writing.fileno())


def _set_aside(database: Path) -> Path | None:
    """Give the database of before another name as well, and its log that name alone.

    The log must be gone before a backup takes the name of its database: SQLite would add what
    stands in it. The database keeps its name until then, so that it is never missing.
    """
    if not database.exists():
        return None
    number = 1
    while (aside := database.with_name(f"{database.name}.before-{number}")).exists():
        number += 1
    os.link(database, aside)
    for ending in ("-wal", "-shm"):
        beside = database.with_name(database.name + ending)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + ending))
    return aside


def _number(path: Path) -> int:
    return int(path.name[:6])
