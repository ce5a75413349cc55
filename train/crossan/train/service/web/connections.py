"""Bounds on connections, which uvicorn leaves open for as long as a client likes."""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from crossan.train.service.settings import HttpSettings
from crossan.train.service.web.answers import Answer, json_answer
from crossan.train.service.web.errors import error_body

__all__ = ["BoundedProtocol", "Connections"]

_READ_BYTES = 16 * 1024
"""Read from a connection at once."""
_SMALL_ANSWER = 16 * 1024
"""Bytes of an answer that may wait for any client to read them."""
_UNREAD_BYTES = 8 * 1024 * 1024
"""Bytes of larger answers that may wait for all clients together."""

Phase = Literal["closing", "writing", "answering", "idle", "head"]


class Connections:
    """The open connections of one server.

    Used by the thread of the server's loop alone.

    Parameters
    ----------
    limits
        How many there may be, and how long each may take for what.
    clock
        Returns seconds that never go back.
    """

    def __init__(self, limits: HttpSettings, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.read_buffer = memoryview(bytearray(_READ_BYTES))
        """Where what a connection sends is read to; it is copied from there at once."""
        self._unread: dict[BoundedProtocol, None] = {}
        """Those whose client leaves a large answer unread, the one that began first first."""
        self._limits = limits
        self._by_address: dict[str, set[BoundedProtocol]] = {}
        self._count = 0
        self._seconds: dict[Phase, float] = {
            "closing": limits.write_seconds,
            "writing": limits.write_seconds,
            "idle": limits.idle_seconds,
            "head": limits.head_seconds,
        }

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def add(self, connection: BoundedProtocol) -> None:
        """Count a new connection, and end another where there are too many.

        That is the one that has waited for its next request for longest, of the address that has
        most of them. Where all are busy, the new one is refused.
        """
        neighbours = self._by_address.setdefault(connection.address, set())
        neighbours.add(connection)
        self._count += 1
        if len(neighbours) > self._limits.connections_per_address:
            self._make_room(neighbours, connection)
        elif self._count > self._limits.connections:
            self._make_room(max(self._by_address.values(), key=len), connection)

    def discard(self, connection: BoundedProtocol) -> None:
        """Forget a connection that has ended."""
        self.note_read(connection)
        neighbours = self._by_address.get(connection.address, set())
        if connection in neighbours:
            neighbours.remove(connection)
            self._count -= 1
            if not neighbours:
                del self._by_address[connection.address]

    def note_unread(self, connection: BoundedProtocol) -> None:
        """Count a connection whose client does not read what it is sent.

        Where answers of too many bytes wait so, the one that has waited for longest is dropped with
        its connection.
        """
        self._unread[connection] = None
        unread = sum(one.unread_bytes for one in self._unread)
        while unread > _UNREAD_BYTES and len(self._unread) > 1:
            slowest = next(iter(self._unread))
            unread -= slowest.unread_bytes
            slowest.transport.abort()
            del self._unread[slowest]

    def note_read(self, connection: BoundedProtocol) -> None:
        """Count a connection's client as one that reads."""
        self._unread.pop(connection, None)

    def end_late(self) -> None:
        """End every connection that has been in one phase for too long."""
        now = self.clock()
        for neighbours in [*self._by_address.values()]:
            for connection in [*neighbours]:
                phase, seconds = connection.phase_since(now)
                if seconds > self._seconds.get(phase, seconds):
                    connection.end(phase)

    def _make_room(self, among: set[BoundedProtocol], newest: BoundedProtocol) -> None:
        waiting = [one for one in among if one is not newest and one.is_waiting]
        if not waiting:
            newest.refuse(_FULL)
            self.discard(newest)
            return
        longest = min(waiting, key=lambda one: one.waits_since)
        longest.transport.abort()
        # Its end comes with the loop's next turn; by then others may have come.
        self.discard(longest)


class BoundedProtocol(H11Protocol, asyncio.BufferedProtocol):
    """A connection that ends when its client is too slow, and says what was wrong in our shape.

    Of requests that a client sends without waiting for answers, the next is looked at once the
    client has read the answer to the one before. So what the server holds for one connection is
    one request and one answer.

    Parameters
    ----------
    connections
        Those of its server.
    given
        What uvicorn gives each connection.
    """

    def __init__(self, connections: Connections, **given: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(**given)
        self._connections = connections
        self._phase: tuple[Phase, object] = ("head", None)
        self._phase_began = self.waits_since = connections.clock()
        self.address = ""
        self._is_held = False
        """Whether an answer is complete whose client has yet to read it."""

    @property
    def is_waiting(self) -> bool:
        """Whether no request is in progress."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def unread_bytes(self) -> int:
        """How much of an answer waits for the client to read it."""
        return self.transport.get_write_buffer_size()

    def phase_since(self, now: float) -> tuple[Phase, float]:
        """Return what the connection is at, and for how many seconds as far as was looked."""
        phase = (self._current_phase(), self.cycle)
        if phase != self._phase:
            self._phase, self._phase_began = phase, now
        return phase[0], now - self._phase_began

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - uvicorn's
        """Count a new connection."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_SMALL_ANSWER)
        self.address = self.client[0] if self.client else ""
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(self)
        super().connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go, the same place for every connection."""
        del sizehint
        return self._connections.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes that came."""
        self.data_received(bytes(self._connections.read_buffer[:nbytes]))

    def on_response_complete(self) -> None:
        """Wait for the next request, once the client has read this answer."""
        self.waits_since = self._connections.clock()
        if self.flow.write_paused and not self.transport.is_closing():
            self._is_held = True
        else:
            super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        super().pause_writing()
        self._connections.note_unread(self)

    def resume_writing(self) -> None:
        """Go on, as the client has read most of what it was sent."""
        super().resume_writing()
        self._connections.note_read(self)
        if self._is_held:
            self._is_held = False
            super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        del msg
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self.refuse(_NO_HTTP)
        else:  # an answer has begun, which cannot be taken back
            self.transport.abort()

    def end(self, phase: Phase) -> None:
        """End a connection that was too slow."""
        if phase == "head" and self.conn.trailing_data[0] and self.conn.our_state is h11.IDLE:
            self.refuse(_SLOW)
        else:
            self.transport.abort()

    def refuse(self, answer: Answer) -> None:
        """Send an answer to no request, and close."""
        reason = http.HTTPStatus(answer.status).phrase.encode()
        lines = [b"HTTP/1.1 %d %s" % (answer.status, reason)]
        lines += [name + b": " + value for name, value in answer.all_headers()]
        lines += [b"connection: close", b"", answer.body]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()

    def _current_phase(self) -> Phase:
        if self.transport.is_closing():
            return "closing"
        if self.flow.write_paused:
            return "writing"
        if not self.is_waiting:
            return "answering"
        is_between = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        return "idle" if self.cycle is not None and is_between else "head"


_NO_HTTP = json_answer(400, error_body("request: expected HTTP/1.1"))
_SLOW = json_answer(408, error_body("request: expected its head sooner"))
_FULL = json_answer(
    503, error_body("connections: the server has as many as it can"), {"retry-after": "1"}
)
