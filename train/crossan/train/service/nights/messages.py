"""Telling people that a night failed or was held back, once each, whatever happens meanwhile.

A message is written down in the transaction that ends the night, so that a restart loses none. It
is sent again until it was taken, and that is written down, too: only a server that is killed
between the two sends it twice, under the same id.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crossan.cache_schema.errors import CrossanError, RemoteError
from crossan.train.service.database import Database
from crossan.train.service.nights.rows import NightRow, get_night
from crossan.train.service.nights.sending import post, run_command
from crossan.train.service.settings import MessageSettings

__all__ = ["Messenger", "message_of"]

_logger = logging.getLogger(__name__)
_FIRST_PAUSE = 10.0
_LONGEST_PAUSE = 3600.0
_MOST_TRIES = 30
"""A little over a day."""
_IDLE_SECONDS = 5.0

Send = Callable[[str, dict[str, Any], MessageSettings], None]


@dataclass(frozen=True, slots=True)
class _Due:
    night: NightRow
    target: str
    tries: int


class Messenger:
    """Sends the messages that wait in the database.

    Parameters
    ----------
    database
        Of the service.
    settings
        Who is told.
    clock
        Returns the seconds since 1970.
    send
        Sends one message to one target, ``"command"`` or ``"webhook"``.
    """

    def __init__(
        self,
        database: Database,
        settings: MessageSettings,
        clock: Callable[[], float],
        send: Send | None = None,
    ) -> None:
        self._database, self._settings, self._clock = database, settings, clock
        self._send = send or send_message
        self._has_news = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="messages", daemon=True)

    @property
    def targets(self) -> tuple[str, ...]:
        """Return who is told."""
        settings = self._settings
        named = {"command": bool(settings.command), "webhook": settings.webhook is not None}
        return tuple(target for target, is_named in named.items() if is_named)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """End once the message in hand has been sent or refused; the others wait."""
        self._is_stopping = True
        self._has_news.set()
        if self._thread.is_alive():
            self._thread.join()

    def enqueue(self, connection: sqlite3.Connection, night: NightRow) -> None:
        """Write down who is to be told of a night, within the transaction that ends it."""
        for target in self.targets:
            connection.execute(
                "INSERT OR IGNORE INTO messages (night_id, target, next_try) VALUES (?, ?, ?)",
                (night.id, target, night.ended),
            )
        self._has_news.set()

    def send_due(self) -> int:
        """Send what is due, and return how many messages were taken."""
        now = self._clock()
        taken = 0
        for due in self._database.read(lambda connection: _due(connection, now)):
            if self._is_stopping:
                break
            taken += self._try(due)
        return taken

    def _try(self, due: _Due) -> bool:
        try:
            self._send(due.target, message_of(due.night), self._settings)
        except CrossanError as error:
            self._put_off(due, error)
            return False
        self._database.write(
            lambda connection: _sent(connection, due.night.id, due.target, self._clock())
        )
        return True

    def _put_off(self, due: _Due, error: CrossanError) -> None:
        tries = due.tries + 1
        pause = min(_FIRST_PAUSE * 2.0**due.tries, _LONGEST_PAUSE)
        is_last = tries >= _MOST_TRIES
        level = logging.ERROR if is_last else logging.WARNING
        _logger.log(level, "night %d: the %s was not told: %s", due.night.id, due.target, error)
        next_try = None if is_last else self._clock() + pause
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE messages SET tries = ?, next_try = ?, problem = ?"
                " WHERE night_id = ? AND target = ?",
                (tries, next_try, error.message, due.night.id, due.target),
            )
        )

    def _run(self) -> None:
        while not self._is_stopping:
            self._has_news.wait(_IDLE_SECONDS)
            self._has_news.clear()
            try:
                self.send_due()
            except Exception:  # the next look sends what this one could not
                _logger.exception("messages wait")


def message_of(night: NightRow) -> dict[str, Any]:
    """Return what is sent about a night."""
    return {
        "id": f"crossan-night-{night.id}",
        "night": night.id,
        "dataset": night.dataset,
        "state": night.state.value,
        "summary": night.summary,
        "reason": night.reason,
        "trigger": night.trigger_name,
        "created": night.created,
        "ended": night.ended,
        "text": f"crossan, {night.dataset}: {night.summary}",
    }


def send_message(target: str, message: dict[str, Any], settings: MessageSettings) -> None:
    """Send a message by a command, or to a webhook.

    Raises
    ------
    RemoteError
        It was not taken.
    """
    if target == "command":
        run_command(settings.command, message)
    elif settings.webhook is not None:
        post(settings.webhook, message, settings.allowed_hosts)
    else:
        raise RemoteError("no webhook is set any more")


def _due(connection: sqlite3.Connection, now: float) -> list[_Due]:
    # A clock that was put back by more than the longest pause must not hold a message back.
    rows = connection.execute(
        "SELECT night_id, target, tries FROM messages WHERE sent IS NULL AND next_try IS NOT NULL"
        " AND (next_try <= ? OR next_try > ?) ORDER BY night_id LIMIT 20",
        (now, now + 2 * _LONGEST_PAUSE),
    ).fetchall()
    return [
        _Due(get_night(connection, row["night_id"]), row["target"], row["tries"]) for row in rows
    ]


def _sent(connection: sqlite3.Connection, night_id: int, target: str, now: float) -> None:
    connection.execute(
        "UPDATE messages SET sent = ?, problem = NULL WHERE night_id = ? AND target = ?",
        (now, night_id, target),
    )
    connection.execute(
        "UPDATE nights SET told = ? WHERE id = ? AND NOT EXISTS"
        " (SELECT 1 FROM messages WHERE night_id = ? AND sent IS NULL)",
        (now, night_id, night_id),
    )
