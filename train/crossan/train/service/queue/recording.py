"""Keeps the file of each run as its row is."""

from __future__ import annotations

import sqlite3
from collections import deque

from crossan.train.service.database import Database
from crossan.train.service.database.run_files import has_record, run_records, write_run
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.queue.rows import RunRow

__all__ = ["Recorder"]

_MOST_AT_ONCE = 40
"""Runs whose files are written before the queue goes on with its other work."""


class Recorder:
    """Writes ``run.json`` soon after a run was queued, and again once it has ended.

    Not before the client has its answer: a file for each of a thousand orders would take the
    database's thread many times longer than their rows do.
    """

    def __init__(self, database: Database, folder: ServiceFolder) -> None:
        self._database, self._folder = database, folder
        self._ended: deque[int] = deque()
        self._last = 0

    def listener(self, connection: sqlite3.Connection, run: RunRow) -> None:
        """Note a run that ended; its row is read again once that is certain."""
        del connection
        self._ended.append(run.id)

    def begin(self) -> None:
        """Go on after the last run that has a file."""
        path = self._folder.path / "runs"
        if path.is_dir():
            # Files are written in the order of the numbers: the first one from behind is the last.
            names = [entry.name for entry in path.iterdir() if entry.name.isdecimal()]
            numbers = sorted(map(int, names), reverse=True)
            recorded = (number for number in numbers if has_record(self._folder, number))
            self._last = next(recorded, 0)

    def write(self) -> bool:
        """Write the files that are due, and return whether more are.

        Raises
        ------
        ResourceError
            The system refuses; what was not written is due still.
        """
        ended = [self._ended.popleft() for _ in range(min(len(self._ended), _MOST_AT_ONCE))]
        try:
            records = self._database.read(
                lambda connection: list(run_records(connection, self._last, ended, _MOST_AT_ONCE))
            )
            for record in records:
                write_run(self._folder, record)
        except BaseException:
            self._ended.extend(ended)
            raise
        numbers = [record["run"]["id"] for record in records]
        self._last = max([self._last, *numbers])
        return bool(self._ended) or len(records) >= _MOST_AT_ONCE
