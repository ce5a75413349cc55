"""Clients of a server in a process of their own, so that what they measure is the server.

``python -m support.crowd_clients KIND SETTINGS`` is one process of them, with its settings in JSON;
it writes lines of JSON. Only the standard library is imported, and no interpreter is shared with the
test or with other kinds:

``submitters``
    Many clients that each submit runs, one after the other, by asyncio.
``healthy``
    One client that asks at a steady rate until its standard input ends; it writes a line once it
    has its first answer, and another at the end. Each time is taken from the moment at which the
    request was due, so that a stall counts for all that came in it.
``attackers``
    Clients that mean harm, each kind in turn. Once all have come it writes its line, and keeps
    their connections until its standard input ends.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import sys
import threading
import time
from contextlib import closing, suppress

_STEADY_SECONDS = 0.05
_ATTACKING_AT_ONCE = 8
_CONNECT_SECONDS = 120


async def _submit_all(settings):
    """Submit the runs of all clients; return seconds, and the run of each key."""
    seconds, ids = [], {}

    async def submit(client):
        reader, writer = await asyncio.open_connection("127.0.0.1", settings["port"])
        for position in range(settings["each"]):
            key = f"{client}-{position}"
            body = json.dumps({**settings["spec"], "label": key}).encode()
            request = _head("POST", "/v1/runs", settings["token"]) + (
                b"content-type: application/json\r\nidempotency-key: %b\r\ncontent-length: %d\r\n\r\n"
                % (key.encode(), len(body))
            )
            for _ in range(1 + (position % 10 == 0)):  # one in ten is sent again
                began = time.perf_counter()
                writer.write(request + body)
                status, answer = await _answer(reader)
                seconds.append(time.perf_counter() - began)
                run = json.loads(answer)
                assert status in {200, 201}, run
                assert ids.setdefault(key, run["id"]) == run["id"]
        writer.close()

    await asyncio.gather(*(submit(client) for client in range(settings["clients"])))
    return {"seconds": seconds, "ids": ids}


async def _answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    return int(lines[0].split(b" ", 2)[1]), await reader.readexactly(length)


def _ask_steadily(settings):
    headers = {"authorization": f"Bearer {settings['token']}"}
    is_over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
    seconds = []
    due = time.perf_counter()
    with closing(http.client.HTTPConnection("127.0.0.1", settings["port"])) as connection:
        while not is_over.wait(max(0.0, due - time.perf_counter())):
            connection.request("GET", "/v1/runs?limit=10", headers=headers)
            answer = connection.getresponse()
            answer.read()
            seconds.append(time.perf_counter() - due)
            assert answer.status == 200
            if len(seconds) == 1:
                print(json.dumps({"has_begun": True}), flush=True)
            due += _STEADY_SECONDS
    return {"seconds": seconds}


class _Attackers:
    """Connections of clients that mean harm, each kind in turn, some at once."""

    def __init__(self, settings):
        self._settings = settings
        self._numbers = iter(range(settings["count"]))
        self._taking = threading.Lock()
        self._open = []

    def attack(self):
        """Open them all, as fast as these threads can."""
        began = time.monotonic()
        threads = [threading.Thread(target=self._attack) for _ in range(_ATTACKING_AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"opened": len(self._open), "seconds": time.monotonic() - began}

    def _next(self):
        with self._taking:
            return next(self._numbers, None)

    def _attack(self):
        kinds = [self._slow_head, self._endless_body, self._idle, self._never_reads]
        while (number := self._next()) is not None:
            # Other addresses than the healthy client's, as other machines would have.
            source = f"127.0.0.{2 + number % 8}"
            connection = socket.create_connection(
                ("127.0.0.1", self._settings["port"]),
                timeout=_CONNECT_SECONDS,
                source_address=(source, 0),
            )
            connection.settimeout(1)
            self._open.append(connection)
            with suppress(OSError):
                # By the eighth number the address repeats, so kinds change from one to the next.
                kinds[(number + number // 8) % len(kinds)](connection)

    def _head(self, method):
        path = "/v1/runs" if method == "POST" else "/v1/runs?limit=500"
        return _head(method, path, self._settings["token"])

    def _slow_head(self, connection):
        connection.sendall(self._head("POST")[:50])

    def _idle(self, connection):
        del connection

    def _endless_body(self, connection):
        connection.sendall(
            self._head("POST")
            + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(64):
            connection.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")

    def _never_reads(self, connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(64):
            connection.sendall(self._head("GET") + b"\r\n")


def _head(method, path, token):
    """Return the head of a request, without its end."""
    return (
        f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n"
    ).encode()


def _main(kind, settings):
    if kind == "submitters":
        print(json.dumps(asyncio.run(_submit_all(settings))), flush=True)
    elif kind == "healthy":
        print(json.dumps(_ask_steadily(settings)), flush=True)
    else:
        attackers = _Attackers(settings)
        print(json.dumps(attackers.attack()), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _main(sys.argv[1], json.loads(sys.argv[2]))
