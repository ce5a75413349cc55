"""Reading and writing the database from any thread."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from crossan.cache_schema.errors import IncompatibleError
from crossan.train.service.database.errors import (
    DatabaseUnusableError,
    explained,
    is_damage,
)
from crossan.train.service.database.file_systems import require_local
from crossan.train.service.database.schema import SCHEMA, SCHEMA_VERSION

__all__ = ["Database"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

_READERS = 4
_MOST_TOGETHER = 128
"""Pieces of work that one transaction holds at most."""


class _Task(NamedTuple):
    work: Work
    future: Future[Any] | asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop | None = None
    """The one of the future, None where a thread waits for it."""


class _Outcome(NamedTuple):
    task: _Task
    result: Any = None
    error: BaseException | None = None


class Database:
    """The service's SQLite database.

    One thread writes. Whatever waits while a transaction is written to the disk goes into the next
    one together: fifty clients cost one ``fsync``, not fifty. Each piece of work has a savepoint of
    its own, so that one which fails leaves the others alone.

    Parameters
    ----------
    path
        The database, made where there is none.

    Raises
    ------
    UsageError
        It would lie on a network file system.
    IncompatibleError
        A newer crossan wrote it.
    ResourceError
        It is damaged, or the system refuses to write it.
    """

    def __init__(self, path: Path) -> None:
        require_local(path.parent)
        self.path = path
        self._damage: DatabaseUnusableError | None = None
        with self._explaining():
            self._writer = _opened(path)
            try:
                _prepare(self._writer, path)
            except BaseException:
                self._writer.close()
                raise
        self._readers: queue.LifoQueue[sqlite3.Connection | None] = queue.LifoQueue()
        for _ in range(_READERS):
            self._readers.put(None)  # opened when it is needed
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._is_closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._write_all, name="database", daemon=True)
        self._thread.start()

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``work`` reads, in one view of the database.

        Raises
        ------
        DatabaseUnusableError
            It is damaged or closed, or the system refuses to read it.
        """
        connection = self._readers.get()
        try:
            if self._is_closed:
                raise self._closed_error()
            with self._explaining():
                if connection is None:
                    connection = _opened(self.path)
                    connection.execute("PRAGMA query_only = ON")
                connection.execute("BEGIN")
                try:
                    return work(connection)
                finally:
                    connection.execute("ROLLBACK")
        finally:
            self._readers.put(connection)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``work`` returns once all that it wrote is on the disk.

        An exception of ``work`` takes back what it wrote, and is raised here.

        Raises
        ------
        DiskFullError
            Nothing was written.
        DatabaseUnusableError
            It is damaged or closed, or the system refuses to write it.
        """
        future: Future[T] = Future()
        with self._explaining():
            self._enqueue(_Task(work, future))
            return future.result()

    async def write_async(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do what `write` does, and let an event loop go on meanwhile.

        What was begun is written even where the waiting task is cancelled.

        Raises
        ------
        DiskFullError
            Nothing was written.
        DatabaseUnusableError
            It is damaged or closed, or the system refuses to write it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._explaining():
            self._enqueue(_Task(work, future, loop))
            return await future

    def back_up(self, target: Path) -> None:
        """Copy the database as it is now to a new file, while others go on to use it.

        Raises
        ------
        ResourceError
            The system refuses to write it.
        """
        with self._explaining():
            source = _opened(self.path)
            copy = sqlite3.connect(target)
            try:
                source.backup(copy)
            finally:
                copy.close()
                source.close()

    def close(self) -> None:
        """Write what waits, let readers finish, and close every connection.

        Whoever comes later gets a `DatabaseUnusableError`.
        """
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            self._tasks.put(None)
        self._thread.join()
        readers = [self._readers.get() for _ in range(_READERS)]
        for connection in readers:
            if connection is not None:
                connection.close()
            self._readers.put(None)
        self._writer.close()

    def _enqueue(self, task: _Task) -> None:
        with self._closing:  # what is queued behind the thread's end would never be written
            if self._is_closed:
                raise self._closed_error()
            self._tasks.put(task)

    def _closed_error(self) -> DatabaseUnusableError:
        return DatabaseUnusableError(
            f"{self.path}: the database is closed, as the service is ending",
            remedy="Ask again once the service has started",
        )

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        if self._damage is not None:
            # What is read from now on may be wrong, and what is written may make it worse.
            raise DatabaseUnusableError(self._damage.message, remedy=self._damage.remedy)
        try:
            yield
        except sqlite3.Error as error:
            reason = explained(error, self.path)
            if reason is error:
                raise
            if isinstance(reason, DatabaseUnusableError) and is_damage(error):
                self._damage = reason
            raise reason from error

    def _write_all(self) -> None:
        """Write whatever comes, until None does."""
        while (task := self._tasks.get()) is not None:
            together = [task]
            with suppress(queue.Empty):
                while len(together) < _MOST_TOGETHER:
                    following = self._tasks.get_nowait()
                    if following is None:
                        self._tasks.put(None)  # ends the loop once these are written
                        break
                    together.append(following)
            _write_together(self._writer, together)


def _write_together(connection: sqlite3.Connection, tasks: list[_Task]) -> None:
    """Write some pieces of work as one transaction, and tell each how it ended."""
    outcomes: list[_Outcome] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for task in tasks:
            connection.execute("SAVEPOINT work")
            try:
                result = task.work(connection)
            except BaseException as error:
                # A full disk has ended the whole transaction, and the savepoint with it.
                if not connection.in_transaction:
                    raise
                connection.execute("ROLLBACK TO work")
                outcomes.append(_Outcome(task, error=error))
            else:
                outcomes.append(_Outcome(task, result))
            connection.execute("RELEASE work")
        connection.execute("COMMIT")
    except BaseException as error:  # noqa: BLE001 - raised where each piece of work came from
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        outcomes = [_Outcome(task, error=error) for task in tasks]
    _tell(outcomes)


def _tell(outcomes: list[_Outcome]) -> None:
    """Tell whoever waits: threads here, and the tasks of a loop together in its own thread."""
    by_loop: dict[asyncio.AbstractEventLoop | None, list[_Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome.task.loop, []).append(outcome)
    for loop, those in by_loop.items():
        if loop is None:
            _settle(those)
        else:
            with suppress(RuntimeError):  # the loop has ended, so nobody waits
                loop.call_soon_threadsafe(_settle, those)


def _settle(outcomes: list[_Outcome]) -> None:
    for task, result, error in outcomes:
        if task.future.cancelled():
            continue
        if error is None:
            task.future.set_result(result)
        else:
            task.future.set_exception(error)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -1024")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables where there are none, and check those that there are."""
    connection.execute("PRAGMA journal_mode = WAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise IncompatibleError(
            f"{path}: expected a database of version {SCHEMA_VERSION} or less, found {version}",
            remedy="Install the crossan that wrote it, or a newer one",
        )
    if version == 0:
        script = f"BEGIN IMMEDIATE; {SCHEMA}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        connection.executescript(script)
    problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        damaged = sqlite3.DatabaseError(problem)
        damaged.sqlite_errorname = "SQLITE_CORRUPT"
        raise damaged
