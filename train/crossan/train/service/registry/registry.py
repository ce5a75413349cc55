"""The registry: versions are added, aliases are moved, and everything is written down."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crossan.common.files import fsync_folder, move
from crossan.common.refusals import blaming, make_folder
from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.queue.rows import RunRow
from crossan.train.service.registry.card import pin_stores
from crossan.train.service.registry.copying import remove_folder, require_unchanged
from crossan.train.service.registry.filling import fill_version
from crossan.train.service.registry.moving import move_alias, require_revision, version_before
from crossan.train.service.registry.rows import (
    Alias,
    AuditEntry,
    Model,
    Move,
    add_audit,
    alias_of,
    audit_entries,
    model_of,
    model_rows,
    moves_of,
    read_alias,
    read_model,
)

__all__ = ["Registry"]

_INCOMING = ".incoming-"
"""How the name of a folder begins that is no version, yet or any more."""
_OTHER_VERSION = "Promote another version: crossan models ls"


class Registry:
    """The versions of models in a service's data folder.

    Any thread may call it.

    Parameters
    ----------
    database, folder
        Of the service.
    clock
        Returns the seconds since 1970.
    """

    def __init__(
        self, database: Database, folder: ServiceFolder, clock: Callable[[], float] = time.time
    ) -> None:
        self._database, self._folder, self._clock = database, folder, clock
        self._listeners: list[Callable[[], None]] = []
        make_folder(folder.models)
        # What a server that was killed had not finished copying, or was about to remove.
        for entry in folder.models.glob(f"{_INCOMING}*"):
            with blaming(entry):
                remove_folder(entry)

    def on_move(self, listener: Callable[[], None]) -> None:
        """Have a function called after each move of an alias, in the thread that moved it."""
        self._listeners.append(listener)

    def register(self, judged: Path, served: Path | None, run: RunRow, actor: str) -> Model:
        """Return the version of a training, made from its run folders unless there is one.

        The files are copied, so the run folders may go. A crash at any moment leaves the whole
        version or none.

        Parameters
        ----------
        judged
            Run folder of the weights that the figures are of.
        served
            That of the weights trained further, None where the judged ones are served.
        run
            The training.
        actor
            Who registers it.

        Raises
        ------
        UsageError
            The run is not finished.
        StoreIntegrityError
            A figure or a weight is NaN, or a file is damaged.
        ResourceError
            The disk is full, or the system refuses.
        """
        registered = self.of_run(run.id)
        if registered is None:
            incoming = self._folder.models / f"{_INCOMING}{run.id}-{secrets.token_hex(4)}"
            try:
                card = fill_version(incoming, judged, served, run)
                registered = self._database.write(
                    lambda connection: self._publish(connection, incoming, card, run, actor)
                )
            finally:
                if incoming.exists():
                    with blaming(incoming):
                        remove_folder(incoming)
        for copied in {registered.judged_run, registered.served_run}:
            pin_stores(copied)
        return registered

    def get(self, version: int) -> Model:
        """Return a version.

        Raises
        ------
        UsageError
            There is none of this number.
        """
        return self._database.read(lambda connection: read_model(connection, version, self._folder))

    def of_run(self, run_id: int) -> Model | None:
        """Return the version of a training, None where it has none."""
        row = self._database.read(
            lambda connection: connection.execute(
                "SELECT * FROM models WHERE run_id = ?", (run_id,)
            ).fetchone()
        )
        return None if row is None else model_of(row, self._folder)

    def versions(self, *, before: int | None = None, limit: int = 1000) -> list[Model]:
        """Return versions, the newest first.

        Parameters
        ----------
        before
            Those with a lower number alone, to go on from an earlier page.
        limit
            Versions at most.
        """
        rows = self._database.read(lambda connection: model_rows(connection, before, limit))
        return [model_of(row, self._folder) for row in rows]

    def alias(self, name: str) -> Alias | None:
        """Return an alias, None where it was never moved."""
        return self._database.read(lambda connection: read_alias(connection, name))

    def aliases(self) -> list[Alias]:
        """Return all aliases by name."""
        return self._database.read(
            lambda connection: [
                alias_of(row) for row in connection.execute("SELECT * FROM aliases ORDER BY name")
            ]
        )

    def moves(self, name: str, *, limit: int = 100) -> list[Move]:
        """Return the moves of an alias, the latest first."""
        return self._database.read(lambda connection: moves_of(connection, name, limit))

    def verify(self, version: int) -> Model:
        """Return a version whose files are those that were registered, to the byte.

        Raises
        ------
        UsageError
            There is none of this number.
        StoreIntegrityError
            A file was changed, added or taken away.
        """
        model = self.get(version)
        require_unchanged(model.folder, model.card["sha256"], _OTHER_VERSION)
        return model

    def promote(
        self,
        alias: str,
        version: int,
        expected_revision: int,
        actor: str,
        *,
        reason: Mapping[str, Any] | None = None,
    ) -> Alias:
        """Move an alias to a version, if nobody has moved it meanwhile.

        Parameters
        ----------
        alias
            Its name; it is made where there is none.
        version
            The version.
        expected_revision
            Revision of the alias that the caller has seen, 0 for an alias that was never moved.
        actor
            Who moves it.
        reason
            What the audit log keeps beside the move, for example the verdict of the gate.

        Raises
        ------
        UsageError
            There is no such version.
        BusyError
            The alias has another revision.
        StoreIntegrityError
            A file of the version was changed.
        """
        require_revision(self.alias(alias), alias, expected_revision)
        self.verify(version)
        return self._move(alias, version, expected_revision, actor, "promote", reason or {})

    def rollback(self, alias: str, expected_revision: int, actor: str) -> Alias:
        """Move an alias back to the version that it stood for before.

        Parameters
        ----------
        alias, expected_revision, actor
            As for `promote`.

        Raises
        ------
        IncompatibleError
            There is no version before.
        BusyError
            The alias has another revision.
        StoreIntegrityError
            A file of the version was changed.
        """
        current = self.alias(alias)
        require_revision(current, alias, expected_revision)
        before = self._database.read(lambda connection: version_before(connection, alias))
        self.verify(before)
        # The revision that was looked at is the one that moves, so this is still the one before.
        return self._move(alias, before, expected_revision, actor, "rollback", {})

    def record(
        self, actor: str, action: str, subject: str, details: Mapping[str, Any] | None = None
    ) -> None:
        """Add an entry to the audit log, from which nothing is ever taken."""
        at = self._clock()
        self._database.write(
            lambda connection: add_audit(connection, at, actor, action, subject, details or {})
        )

    def audit(self, *, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
        """Return entries of the audit log, the newest first; as for `versions`."""
        return self._database.read(lambda connection: audit_entries(connection, before, limit))

    def _publish(
        self,
        connection: sqlite3.Connection,
        incoming: Path,
        card: Mapping[str, Any],
        run: RunRow,
        actor: str,
    ) -> Model:
        """Give a folder the number of a version, within the transaction that makes its row."""
        earlier = connection.execute("SELECT * FROM models WHERE run_id = ?", (run.id,)).fetchone()
        if earlier is not None:  # another thread was faster
            return model_of(earlier, self._folder)
        at = self._clock()
        cursor = connection.execute(
            "INSERT INTO models (run_id, night_id, dataset, card, created, created_by)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (run.id, run.night_id, run.dataset, json.dumps(card), at, actor),
        )
        version = cursor.lastrowid
        assert version is not None
        target = self._folder.model(version)
        if target.exists():
            # Left by a transaction that was never written: no row says that it is a version.
            move(target, target.with_name(f"{_INCOMING}{secrets.token_hex(8)}"))
        move(incoming, target)
        fsync_folder(self._folder.models)
        add_audit(connection, at, actor, "register", f"model {version}", {"run": run.id})
        return read_model(connection, version, self._folder)

    def _move(
        self,
        name: str,
        version: int,
        expected: int,
        actor: str,
        action: str,
        details: Mapping[str, Any],
    ) -> Alias:
        moved = Move(name, expected + 1, version, action, self._clock(), actor)
        alias = self._database.write(lambda connection: move_alias(connection, moved, details))
        for listener in self._listeners:
            listener()
        return alias
