"""One running service: its data folder, its database and its rooms."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from crossan.train.service.database import Database
from crossan.train.service.database.backups import Backups, restore
from crossan.train.service.executors import Executor
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.nights.nights import Nights
from crossan.train.service.nights.steps import ProductSteps
from crossan.train.service.queue import Scheduler, Slots
from crossan.train.service.queue.steps import Steps
from crossan.train.service.registry import Registry
from crossan.train.service.server.checking import Checks
from crossan.train.service.server.claiming import FolderClaim
from crossan.train.service.server.executing import executor_of
from crossan.train.service.server.metrics import Metrics
from crossan.train.service.serving import Serving
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
    steps
        What the steps of runs do; by default those of the product.
    executor
        Where runs go; by default what the settings say.
    restore_from
        Backup that takes the place of the database first, ``newest`` or a file's name; None for
        none.
    clock
        Returns the seconds since 1970.

    Raises
    ------
    BusyError
        Another server works in the folder.
    UsageError
        The folder is on a network file system, or there is no such backup.
    ResourceError
        The database is damaged, or the system refuses to write it.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        folder_path: Path,
        *,
        steps: Steps | None = None,
        executor: Executor | None = None,
        restore_from: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.clock = clock
        local = None if settings.local is None else Path(settings.local).expanduser().absolute()
        self.folder = ServiceFolder(folder_path, local)
        for needed in {folder_path, local or folder_path}:
            needed.mkdir(parents=True, exist_ok=True)
        self._ends = ExitStack()
        with ExitStack() as undone:
            self._claim = FolderClaim(folder_path)
            undone.callback(self._claim.stop)
            self.restored = None if restore_from is None else restore(self.folder, restore_from)
            """What `restore_from` brought back."""
            self.database = Database(self.folder.database)
            undone.callback(self.database.close)
            self.registry = Registry(self.database, self.folder, clock)
            self.serving = Serving(self.registry, self.folder)
            self.metrics = Metrics(self.database, self.folder, self.serving, clock)
            self.slots = Slots.of(settings.slots)
            self.checks = Checks(settings, self.slots)
            self.nights = Nights(
                self.database, self.folder, self.registry, settings, clock, self._wake
            )
            self.scheduler = Scheduler(
                self.database,
                self.folder,
                steps or ProductSteps(self.folder, settings, self.registry, self.database),
                executor or executor_of(settings),
                self.slots,
                listeners=(self.nights.listener, self.metrics.on_end),
                clock=clock,
            )
            self._backups = Backups(
                self.database,
                self.folder,
                minutes=settings.backup_minutes,
                kept=settings.backups_kept,
                clock=clock,
            )
            self._ends = undone.pop_all()

    def start(self) -> None:
        """Start every room, the one that starts runs last.

        Raises
        ------
        UsageError
            A run of an earlier server goes on elsewhere than this one would look for it.
        """
        self._claim.start()
        for room in (self._backups, self.serving, self.scheduler, self.nights):
            # First how it ends: a room that fails to start in the middle is stopped, too.
            self._ends.callback(room.stop)
            room.start()

    def stop(self) -> None:
        """Stop every room, the last one first. Runs go on, and the next server adopts them."""
        self._ends.close()

    def _wake(self) -> None:
        self.scheduler.wake()
