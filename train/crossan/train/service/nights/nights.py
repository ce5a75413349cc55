"""Nightly work as one part of the service: its triggers, its messages, and the threads of both."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable

from crossan.cache_schema.errors import CrossanError
from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.nights.chains import Beginning, begin_night, end_night
from crossan.train.service.nights.checking import check_spec
from crossan.train.service.nights.datasets import dataset_at
from crossan.train.service.nights.health import StoreHealth
from crossan.train.service.nights.inputs import rebase_logs
from crossan.train.service.nights.messages import Messenger
from crossan.train.service.nights.rows import NightRow, NightState, get_night, list_nights
from crossan.train.service.nights.triggers import Triggers
from crossan.train.service.queue.rows import ENDED, RunRow, list_runs
from crossan.train.service.registry import Registry
from crossan.train.service.settings import ServiceSettings
from crossan.train.service.specs import NightSpec, TriggerSpec

__all__ = ["Nights"]

_logger = logging.getLogger(__name__)


class Nights:
    """Begins nights, by triggers and by hand, ends them, and tells people of those that went wrong.

    Parameters
    ----------
    database, folder
        Of the service.
    registry
        Whose audit log says who begins, adds and removes what.
    settings
        The operator's.
    clock
        Returns the seconds since 1970. It may jump.
    wake
        Called when runs were added to the queue.
    """

    def __init__(
        self,
        database: Database,
        folder: ServiceFolder,
        registry: Registry,
        settings: ServiceSettings,
        clock: Callable[[], float] = time.time,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.triggers = Triggers(database, settings)
        self.health = StoreHealth(folder.path / "store-health")
        self.messenger = Messenger(database, settings.messages, clock)
        self._database, self._registry, self._settings = database, registry, settings
        self._clock, self._wake = clock, wake
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="triggers", daemon=True)
        self._complaint = ""

    def start(self) -> None:
        """Begin to look at triggers and to send messages."""
        self._thread.start()
        self.messenger.start()

    def stop(self) -> None:
        """End the threads, once the message in hand has been sent or refused."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self.messenger.stop()
        self.health.stop()

    def begin(
        self,
        spec: NightSpec,
        actor: str,
        reason: str,
        *,
        trigger: str | None = None,
        fingerprint: str | None = None,
    ) -> NightRow:
        """Put a night into the queue.

        Parameters
        ----------
        spec
            What it does.
        actor, reason
            Who begins it, and why.
        trigger
            The trigger that fired.
        fingerprint
            Digest of its input, by which it is begun once; None to begin it in any case.

        Raises
        ------
        ConfigError, UsageError
            The spec does not fit.
        NothingNewError
            Another night has the fingerprint.
        """
        check_spec(spec, self._settings)
        counts = dataset_at(spec.dataset, self._settings).description.counts
        beginning = Beginning(actor, reason, self._clock(), trigger, fingerprint)

        def write(connection: sqlite3.Connection) -> NightRow:
            night = begin_night(connection, spec, beginning)
            rebase_logs(connection, spec.dataset, counts.get("interactions", 0))
            return night

        night = self._database.write(write)
        self._registry.record(actor, "begin night", f"night {night.id}", {"reason": reason})
        self._wake()
        return night

    def listener(self, connection: sqlite3.Connection, run: RunRow) -> None:
        """End the night of a run that ended, in the transaction that records the run's end."""
        night = end_night(connection, run, self._clock())
        if night is not None and night.state in {NightState.FAILED, NightState.HELD_BACK}:
            self.messenger.enqueue(connection, night)

    def get(self, night_id: int) -> NightRow:
        """Return a night.

        Raises
        ------
        UsageError
            There is none of this number.
        """
        return self._database.read(lambda connection: get_night(connection, night_id))

    def all(self, *, before: int | None = None, limit: int = 100) -> list[NightRow]:
        """Return nights, the newest first; those before a number alone, for the next page."""
        return self._database.read(
            lambda connection: list_nights(connection, before=before, limit=limit)
        )

    def runs_of(self, night_id: int) -> list[RunRow]:
        """Return the runs of a night, in the order in which they come."""
        runs = self._database.read(lambda connection: list_runs(connection, night_id=night_id))
        return runs[::-1]

    def cancel(self, night_id: int, cancel_run: Callable[[int], object], actor: str) -> NightRow:
        """Cancel the runs of a night that have not ended, the last one first; return the night.

        Parameters
        ----------
        night_id
            The night.
        cancel_run
            Cancels a run: the scheduler's.
        actor
            Who cancels it.
        """
        self.get(night_id)
        for run in reversed(self.runs_of(night_id)):
            if run.state not in ENDED:
                cancel_run(run.id)
        self._registry.record(actor, "cancel night", f"night {night_id}")
        return self.get(night_id)

    def add_trigger(self, spec: TriggerSpec, actor: str) -> None:
        """Keep a trigger; see `Triggers.add`."""
        self.triggers.add(spec, actor, self._clock())
        details = spec.model_dump(mode="json", exclude={"night"})
        self._registry.record(actor, "add trigger", f"trigger {spec.name}", details)

    def remove_trigger(self, name: str, actor: str) -> None:
        """Forget a trigger; see `Triggers.remove`."""
        self.triggers.remove(name)
        self._registry.record(actor, "remove trigger", f"trigger {name}")

    def run_trigger(self, name: str, actor: str) -> NightRow:
        """Begin a trigger's night now; see `Triggers.run`."""
        night = self.triggers.run(name, actor, self._clock())
        self._registry.record(
            actor, "begin night", f"night {night.id}", {"reason": night.reason, "trigger": name}
        )
        self._wake()
        return night

    def tick(self) -> list[NightRow]:
        """Look at every trigger once, and return the nights that this began."""
        nights = self.triggers.tick(self._clock())
        for night in nights:
            details = {"reason": night.reason, "trigger": night.trigger_name}
            self._registry.record(night.created_by, "begin night", f"night {night.id}", details)
        if nights:
            self._wake()
        return nights

    def _watch(self) -> None:
        while True:
            try:
                self.tick()
                self._complaint = ""
            except Exception as error:  # noqa: BLE001 - the next look comes whatever befalls one
                self._complain(error)
            if self._is_stopping.wait(self._settings.watch_seconds):
                return

    def _complain(self, error: Exception) -> None:
        """Log an error once, however often it comes again."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            is_ours = isinstance(error, CrossanError)
            _logger.error("triggers wait: %s", error, exc_info=None if is_ours else error)
