"""What a server does by the clock besides runs: backups, and the sign that it works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from crossan.cache_schema.errors import CrossanError
from crossan.common.claim import refresh
from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.settings import ServiceSettings

__all__ = ["Housekeeping"]

_LOG = logging.getLogger("crossan.service.housekeeping")
_LOOK_SECONDS = 60.0


class Housekeeping:
    """A thread that looks once a minute for what is due.

    Parameters
    ----------
    database, folder, settings
        Those of the service.
    clock
        Returns the seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        folder: ServiceFolder,
        settings: ServiceSettings,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_often, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Do what is due."""
        refresh(self._folder.path)

    def _look_often(self) -> None:
        while not self._end.is_set():
            try:
                self.look()
            except (CrossanError, OSError) as error:
                _LOG.error("housekeeping failed, and is tried again in a minute: %s", error)
            self._end.wait(_LOOK_SECONDS)
