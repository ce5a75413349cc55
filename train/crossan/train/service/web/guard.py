"""The outermost layer: nothing passes that no rule lets pass.

In this order: the host's name, the page that sends the request, the token, how often it came,
the route and its role, the body. Only then the application sees the request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from crossan.cache_schema.errors import ConfigError
from crossan.train.service.web.access import LOGIN_PATH, LOGOUT_PATH, Access
from crossan.train.service.web.answers import Answer, RefusedError, json_answer, secured
from crossan.train.service.web.bodies import (
    BodyLimits,
    BodyRoom,
    read_body,
    replayed,
    require_content,
)
from crossan.train.service.web.callers import Identity
from crossan.train.service.web.errors import error_body, unexpected_body
from crossan.train.service.web.heads import Head, head_of
from crossan.train.service.web.table import RouteEntry, RouteTable

__all__ = ["Guard", "Observe"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Observe = Callable[[str, str, int, float], None]
"""Told of each answer: the route's template, the method, the status, the seconds until it began."""

_LOG = logging.getLogger("crossan.service.http")
_NO_ROUTE = "none"
_LOGIN_LIMITS = BodyLimits(4096, 10.0)
_POLICY_VIOLATION = 1008


class Guard:
    """An ASGI application around another.

    Parameters
    ----------
    app
        What is guarded.
    access
        Who may pass.
    table
        The routes of ``app``. A path that is not in it does not reach ``app``.
    limits
        Of bodies.
    observe
        Told of each answer.
    """

    def __init__(
        self, app: App, access: Access, table: RouteTable, limits: BodyLimits, observe: Observe
    ) -> None:
        self._app = app
        self._access = access
        self._table = table
        self._limits = limits
        self._observe = observe
        self._room = BodyRoom()
        self._turns: dict[tuple[str, int], asyncio.Semaphore] = {}
        """Requests of one token in progress; more wait for them, not for the threads of all."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI 3 has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._handle(scope, receive, _Answering(scope, send, self._observe))
        else:
            # No route speaks WebSocket. A close before the handshake is answered with 403.
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    async def _handle(self, scope: Scope, receive: Receive, answering: _Answering) -> None:
        try:
            head = head_of(scope)
            self._access.require_ours(head)
            if head.path in {LOGIN_PATH, LOGOUT_PATH} and await self._log_in_or_out(
                head, scope, receive, answering
            ):
                return
            identity = self._access.identified(head)
            answering.caller = identity.name
            answering.entry = self._entry_for(head, identity)
            scope.setdefault("state", {})["identity"] = identity
            with self._room.part() as grow:
                if head.has_body:
                    body = await read_body(receive, head.headers, self._limits, grow)
                    require_content(head.path, head.headers, body)
                    receive = replayed(body, receive)
                async with self._turn_of(identity, answering.entry):
                    await self._app(scope, receive, answering.send)
        except RefusedError as refused:
            await answering.whole(refused.answer)
        except ConnectionError:
            _LOG.debug("a client went away")
        except Exception as error:  # noqa: BLE001 - the last layer: a fault of ours is a 500
            # What the application answered already has its line in the log.
            if not answering.has_begun:
                await answering.whole(json_answer(500, unexpected_body(error)))

    def _turn_of(self, identity: Identity, entry: RouteEntry) -> AbstractAsyncContextManager[None]:
        """Return what a request waits for, so that one token leaves room for the others."""
        if entry.is_lasting:
            return nullcontext()
        turns = self._turns.get((identity.name, entry.turns))
        if turns is None:
            turns = self._turns[identity.name, entry.turns] = asyncio.Semaphore(entry.turns)
        return turns

    def _entry_for(self, head: Head, identity: Identity) -> RouteEntry:
        """Return the route that a request means.

        Raises
        ------
        RefusedError
            There is none, not with this method, or it needs a higher role.
        """
        entries = self._table.entries_of(head.path)
        if not entries:
            raise _refused(404, "path: no such route")
        entry = next((one for one in entries if head.method in one.methods), None)
        if entry is None:
            methods = ", ".join(sorted(set().union(*(one.methods for one in entries))))
            raise _refused(405, f"method: expected {methods}", {"allow": methods})
        if entry.role is None:
            raise _refused(403, "path: this route declares no role, so nobody may call it")
        if not identity.role.allows(entry.role):
            raise _refused(
                403,
                f"token {identity.name}: expected the role {entry.role}, found {identity.role}",
            )
        return entry

    async def _log_in_or_out(
        self, head: Head, scope: Scope, receive: Receive, answering: _Answering
    ) -> bool:
        """Answer the form, and whoever asks for it with a token; return whether it is answered."""
        is_secure = scope.get("scheme") == "https"
        is_known = self._access.known(head) is not None
        if head.path == LOGOUT_PATH:
            if not is_known or head.method != "POST":
                return False
            await answering.whole(self._access.log_out(head, is_secure=is_secure))
        elif head.method == "POST":
            with self._room.part() as grow:
                body = await read_body(receive, head.headers, _LOGIN_LIMITS, grow)
            require_content(head.path, head.headers, body)
            try:
                answer = self._access.log_in(body, is_secure=is_secure)
            except ConfigError as error:
                answer = json_answer(422, error_body(error.message, field="body"))
            await answering.whole(answer)
        elif is_known and head.method == "GET":
            await answering.whole(Answer(303, b"", "text/plain", {"location": "/"}))
        else:
            return False
        return True


class _Answering:
    """Sends one answer, with the headers of security, and tells of it."""

    def __init__(self, scope: Scope, send: Send, observe: Observe) -> None:
        self._scope = scope
        self._send = send
        self._observe = observe
        self._began = time.perf_counter()
        self.has_begun = False
        self.entry: RouteEntry | None = None
        self.caller = ""

    async def send(self, message: Any) -> None:  # noqa: ANN401 - messages of ASGI
        """Send a message of the application."""
        if message["type"] == "http.response.start":
            self._tell(message["status"])
            message = {**message, "headers": secured(message.get("headers", ()))}
        await self._send(message)

    async def whole(self, answer: Answer) -> None:
        """Send an answer of the outermost layer."""
        self._tell(answer.status)
        headers = answer.all_headers()
        if answer.status >= 400:
            # A body that nobody reads, or more requests that came behind this one, would otherwise
            # keep the connection.
            headers = [one for one in headers if one[0] != b"connection"]
            headers.append((b"connection", b"close"))
        await self._send(
            {"type": "http.response.start", "status": answer.status, "headers": headers}
        )
        await self._send({"type": "http.response.body", "body": answer.body})

    def _tell(self, status: int) -> None:
        self.has_begun = True
        seconds = time.perf_counter() - self._began
        template = _NO_ROUTE if self.entry is None else self.entry.template
        method = self._scope["method"]
        self._observe(template, method, status, seconds)
        level = logging.DEBUG if method == "GET" and status < 400 else logging.INFO
        fields = {
            "method": method,
            "route": template,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "caller": self.caller,
        }
        _LOG.log(level, "request", extra={"fields": fields})


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> RefusedError:
    return RefusedError(json_answer(status, error_body(message), headers))
