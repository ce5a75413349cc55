"""Serving an application over HTTP until a signal ends it."""

from __future__ import annotations

import functools
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from crossan.cache_schema.errors import UsageError
from crossan.common.files import remove_durably, replace_durably
from crossan.common.interrupts import ToldToEnd, finishing_on
from crossan.train.service.server import Service
from crossan.train.service.settings import HttpSettings
from crossan.train.service.web.app import build_app, guarded
from crossan.train.service.web.connections import BoundedProtocol, Connections
from crossan.train.service.web.guard import Guard
from crossan.train.service.web.streams import Streams
from crossan.train.service.web.tokens import Tokens

__all__ = ["listening_socket", "run_service", "url_of"]

_BACKLOG = 1024
"""New connections that wait in the system until they are taken."""
_TAKEN_AT_ONCE = 4
"""Of those, in one turn of the loop, so that a flood of new ones waits and not those there are."""
_TICKS_A_LOOK = 10
"""Of uvicorn's loop, ten a second."""
_LARGEST_HEAD = 16 * 1024
_SEND_BYTES = 64 * 1024
"""Of an answer that the system holds for a client that has yet to read it.

By default it holds some megabytes, so that clients that never read look like ones that do.
"""
_TURN_SECONDS = 0.001
"""For so long one thread may keep the interpreter while others want it.

By default 5 ms, which the loop would wait for after each of its steps while a thread computes.
"""


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    UsageError
        The address is not one of this machine, or another program listens there.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio sends small answers at once only where the socket says that it speaks TCP.
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)  # of all it accepts
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address by which programs of this machine reach a listening socket."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not listened on
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_service(
    service: Service, tokens: Tokens, listener: socket.socket, on_start: Callable[[str], None]
) -> signal.Signals | None:
    """Run a service and answer requests until a signal ends both.

    Requests in progress are answered first. Runs go on.

    Parameters
    ----------
    service
        What is served.
    tokens
        Who may call.
    listener
        Where requests come in. It is closed at the end.
    on_start
        Told of the server's address once requests are taken there.

    Returns
    -------
    signal.Signals or None
        What ended it.
    """
    with finishing_on(signal.SIGTERM, signal.SIGINT, work="requests") as ending:
        try:
            server = _server_of(service, tokens, ending)
            service.start()
            url = url_of(listener)
            gc.freeze()  # what was loaded stays, so no collection need look at it again
            with _noted_address(service.folder.address_file, url), _short_turns():
                on_start(url)
                server.run([listener])
        finally:
            service.stop()
    return ending.number


def _server_of(service: Service, tokens: Tokens, ending: ToldToEnd) -> _Server:
    http = service.settings.http
    app = build_app(service)
    guard = guarded(app, service, tokens, service.metrics.on_answer)
    connections = Connections(http, time.monotonic)
    return _Server(_config(guard, http, connections), ending, connections, app)


def _cannot_listen(host: str, port: int, error: OSError) -> UsageError:
    return UsageError(
        f"--host {host} --port {port}: cannot listen there: {error.strerror}",
        remedy="Choose a free port: --port 0",
    )


@contextmanager
def _noted_address(path: Path, url: str) -> Iterator[None]:
    """Have a file say where this process listens, for as long as the block takes."""
    mask = os.umask(0o077)
    try:
        replace_durably(path, json.dumps({"url": url, "pid": os.getpid()}).encode())
    finally:
        os.umask(mask)
    try:
        yield
    finally:
        remove_durably(path)


@contextmanager
def _short_turns() -> Iterator[None]:
    """Have threads give the interpreter to each other more often while the block runs."""
    earlier = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(earlier)


def _config(guard: Guard, http: HttpSettings, connections: Connections) -> uvicorn.Config:
    return uvicorn.Config(
        guard,
        loop="asyncio",
        http=functools.partial(BoundedProtocol, connections),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        backlog=_TAKEN_AT_ONCE,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=http.idle_seconds,
        timeout_graceful_shutdown=http.drain_seconds,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
    )


class _Server(uvicorn.Server):
    """Ends when a signal comes, and looks after connections meanwhile."""

    def __init__(
        self, config: uvicorn.Config, ending: ToldToEnd, connections: Connections, app: FastAPI
    ) -> None:
        super().__init__(config)
        self._ending = ending
        self._connections = connections
        self._streams: Streams = app.state.streams

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command, which ends the service, too."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take connections."""
        await super().startup(sockets)
        for listener in sockets or ():
            # asyncio takes its backlog for both, how many wait and how many it takes at once.
            listener.listen(_BACKLOG)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end."""
        if counter % _TICKS_A_LOOK == 0:
            self._connections.end_late()
        return await super().on_tick(counter) or self._ending.is_set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is in progress, and end."""
        self._streams.end_all()
        await super().shutdown(sockets)
