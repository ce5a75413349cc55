"""Triggers: how they are kept, and what one look at each of them does.

A trigger that is due waits while a night of its dataset is under way, and begins one when that has
ended: of a storm of changes the last one counts, and what moved during a night is trained on once
more at most.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossan.cache_schema.errors import BusyError, CrossanError
from crossan.train.service.database import Database
from crossan.train.service.nights.chains import Beginning, NothingNewError, begin_night
from crossan.train.service.nights.checking import check_spec
from crossan.train.service.nights.cron import check_cron, next_time
from crossan.train.service.nights.datasets import dataset_at
from crossan.train.service.nights.inputs import (
    fingerprint_at_begin,
    input_of,
    rebase_logs,
    unread_inbox,
)
from crossan.train.service.nights.rows import (
    NightRow,
    TriggerRow,
    get_trigger,
    list_triggers,
    night_under_way,
)
from crossan.train.service.nights.watching import (
    after_look,
    as_json,
    first_state,
    look_at,
    why_due,
)
from crossan.train.service.settings import ServiceSettings
from crossan.train.service.specs import TriggerSpec

__all__ = ["Triggers"]


@dataclass(frozen=True, slots=True)
class Triggers:
    """The triggers of a service.

    Any thread may add, remove and list them; `tick` belongs to one.
    """

    database: Database
    settings: ServiceSettings

    def add(self, spec: TriggerSpec, actor: str, now: float) -> TriggerRow:
        """Keep a trigger, for which nothing has moved yet.

        Raises
        ------
        BusyError
            There is one of this name.
        ConfigError, UsageError
            Its night, its expression or its time zone does not fit.
        """
        check_spec(spec.night, self.settings)
        following = None
        look = None
        if spec.cron is not None:
            check_cron(spec.cron, spec.timezone)
            following = next_time(spec.cron, spec.timezone, now)
        else:
            look = self.database.read(lambda connection: look_at(spec, self.settings, connection))
        state = as_json(first_state(spec, look, now))

        def insert(connection: sqlite3.Connection) -> TriggerRow:
            try:
                connection.execute(
                    "INSERT INTO triggers (name, spec, created, created_by, next_time, state)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (spec.name, spec.model_dump_json(), now, actor, following, state),
                )
            except sqlite3.IntegrityError:
                raise BusyError(
                    f"trigger {spec.name}: there is one of this name",
                    remedy="Give it another name: crossan triggers ls",
                ) from None
            return get_trigger(connection, spec.name)

        return self.database.write(insert)

    def remove(self, name: str) -> TriggerRow:
        """Forget a trigger, and return it as it was. Its nights stay.

        Raises
        ------
        UsageError
            There is none of this name.
        """

        def delete(connection: sqlite3.Connection) -> TriggerRow:
            trigger = get_trigger(connection, name)
            connection.execute("DELETE FROM triggers WHERE name = ?", (name,))
            return trigger

        return self.database.write(delete)

    def all(self) -> list[TriggerRow]:
        """Return every trigger, by name."""
        return self.database.read(list_triggers)

    def tick(self, now: float) -> list[NightRow]:
        """Look at every trigger, and return the nights that this began."""
        nights = []
        for trigger in self.all():
            try:
                night = self._tick(trigger, now)
            except CrossanError as error:
                self._keep(trigger, {"last_reason": f"could not look: {error.message}"})
                continue
            if night is not None:
                nights.append(night)
        return nights

    def run(self, name: str, actor: str, now: float) -> NightRow:
        """Begin a trigger's night as a person asks for it, whatever was trained on before.

        Raises
        ------
        UsageError
            There is no such trigger.
        ConfigError
            Its night does not fit any more.
        """
        trigger = self.database.read(lambda connection: get_trigger(connection, name))
        check_spec(trigger.spec.night, self.settings)
        reason = f"run by {actor}"
        return self._begin(trigger, Beginning(actor, reason, now, trigger=name), {})

    def _tick(self, trigger: TriggerRow, now: float) -> NightRow | None:
        spec = trigger.spec
        changes: dict[str, Any] = {}
        state: Mapping[str, Any] = trigger.state
        if spec.kind == "cron":
            reason, changes = self._of_clock(trigger, now)
            state = changes.pop("state", state)
        else:
            look = self.database.read(lambda connection: look_at(spec, self.settings, connection))
            state = after_look(state, look, now)
            reason = why_due(spec, state, look, self.settings.debounce_seconds, now)
            if reason is not None:
                state = {**state, "seen": look.shown}
        is_busy = reason is not None and self.database.read(
            lambda connection: night_under_way(connection, spec.night.dataset)
        )
        if reason is None or is_busy:
            # Of a trigger that is due and has to wait, what it fires for is not yet seen.
            kept = state if reason is None else {**state, "seen": trigger.state.get("seen")}
            self._keep(trigger, {**changes, "state": as_json(kept)})
            return None
        changes["state"] = as_json({**state, "is_due": False})
        return self._fire(trigger, reason, changes, now)

    def _of_clock(self, trigger: TriggerRow, now: float) -> tuple[str | None, dict[str, Any]]:
        """Return why a cron trigger is due, and what to keep of that."""
        spec = trigger.spec
        assert spec.cron is not None
        due = trigger.next_time
        changes: dict[str, Any] = {}
        is_due = bool(trigger.state.get("is_due"))
        if due is not None and due <= now:
            # After the time that has just come: a clock that is put back fires nothing twice.
            changes["next_time"] = next_time(spec.cron, spec.timezone, max(now, due))
            is_due = True
        changes["state"] = {**trigger.state, "is_due": is_due}
        return (f"at {spec.cron} {spec.timezone}" if is_due else None), changes

    def _fire(
        self, trigger: TriggerRow, reason: str, changes: dict[str, Any], now: float
    ) -> NightRow | None:
        """Begin a night unless there is nothing new to train on."""
        spec = trigger.spec.night
        try:
            check_spec(spec, self.settings)
            seen = input_of(spec, self.settings)
            dataset = dataset_at(spec.dataset, self.settings)
            unread = self.database.read(lambda connection: unread_inbox(connection, spec, dataset))
            fingerprint = fingerprint_at_begin(seen, unread)
            beginning = Beginning(f"trigger {trigger.name}", reason, now, trigger.name, fingerprint)
            return self._begin(trigger, beginning, changes, seen.interactions)
        except NothingNewError as error:
            self._keep(trigger, {**changes, "last_time": now, "last_reason": error.message})
        except CrossanError as error:
            said = f"could not begin: {error.message}"
            self._keep(trigger, {**changes, "last_time": now, "last_reason": said})
        return None

    def _begin(
        self,
        trigger: TriggerRow,
        beginning: Beginning,
        changes: dict[str, Any],
        interactions: int | None = None,
    ) -> NightRow:
        """Begin a night and record that in its trigger, in one transaction."""

        def begin(connection: sqlite3.Connection) -> NightRow:
            get_trigger(connection, trigger.name)  # which may have been removed meanwhile
            night = begin_night(connection, trigger.spec.night, beginning)
            recorded = {
                **changes,
                "last_time": beginning.now,
                "last_night": night.id,
                "last_reason": beginning.reason,
            }
            _update(connection, trigger, recorded)
            if interactions is not None:
                rebase_logs(connection, trigger.spec.night.dataset, interactions)
            return night

        return self.database.write(begin)

    def _keep(self, trigger: TriggerRow, changes: Mapping[str, Any]) -> None:
        """Write what has changed of a trigger, nothing where that is nothing."""
        before = {
            "state": as_json(trigger.state),
            "last_reason": trigger.last_reason,
            "next_time": trigger.next_time,
        }
        changed = {name: value for name, value in changes.items() if before.get(name, ()) != value}
        if changed:
            self.database.write(lambda connection: _update(connection, trigger, changed))


def _update(
    connection: sqlite3.Connection, trigger: TriggerRow, changes: Mapping[str, Any]
) -> None:
    if changes:
        # The names are ours; the values are bound.
        names = ", ".join(f"{name} = ?" for name in changes)
        connection.execute(
            f"UPDATE triggers SET {names} WHERE name = ?",  # noqa: S608
            (*changes.values(), trigger.name),
        )
