"""One running service: its data folder, its database and its rooms."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from crossan.common.claim import claim, release
from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.settings import ServiceSettings

__all__ = ["Service"]


class Service:
    """The service of one data folder, without its HTTP interface.

    Parameters
    ----------
    settings
        What the operator set.
    folder_path
        The data folder; it is made where there is none.
    clock
        Returns the seconds since 1970.

    Raises
    ------
    BusyError
        Another server works in the folder.
    UsageError
        The folder is on a network file system.
    ResourceError
        The database is damaged, or the system refuses to write it.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        folder_path: Path,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.folder = ServiceFolder(folder_path)
        folder_path.mkdir(parents=True, exist_ok=True)
        claim(folder_path, "serves")
        self.database = Database(self.folder.database)

    def start(self) -> None:
        """Start every room, the one that starts runs last."""

    def stop(self) -> None:
        """Stop every room. Runs go on, and the next server adopts them."""
        self.database.close()
        release(self.folder.path)
