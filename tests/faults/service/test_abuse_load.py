"""Many clients at once, and clients that mean harm, while others are served.

``CROSSAN_FAULTS=full`` takes the counts of docs/benchmarks/service.md.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import psutil
import pytest

from support.service import SPEC, ServerProcess
from support.started import CEILING_S, wait_until

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
SUBMISSIONS, CLIENTS = (1000, 50) if IS_FULL else (100, 10)
HOSTILE = 1000 if IS_FULL else 100
MIB = 1 << 20
LIMITS = {"head_seconds": 2.0, "body_seconds": 2.0, "write_seconds": 2.0, "idle_seconds": 2}


@pytest.fixture
def server(tmp_path):
    return ServerProcess(tmp_path, http=LIMITS)


def percentile(seconds, share):
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]


def memory_of(server):
    return psutil.Process(server.pid).memory_info().rss


def headers_of(server, role="submit"):
    return {"authorization": f"Bearer {server.tokens[role]}", "content-type": "application/json"}


def test_submissions_of_many_clients_are_all_kept_and_none_twice(server, record_property):
    with server.client("submit") as client:
        for _ in range(2):
            client.post("/v1/runs", json={**SPEC, "label": "sleep 1000"})
        wait_until(
            lambda: len(client.get("/v1/runs?state=running").json()["runs"]) == 2, "two runs go"
        )
    headers = headers_of(server)
    seconds, ids = [], {}

    def submit_all(number):
        with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
            for position in range(SUBMISSIONS // CLIENTS):
                key = f"{number}-{position}"
                body = json.dumps({**SPEC, "label": key})
                for _ in range(1 + (position % 10 == 0)):  # one in ten is sent again
                    began = time.perf_counter()
                    more = {**headers, "idempotency-key": key}
                    connection.request("POST", "/v1/runs", body, more)
                    answer = connection.getresponse()
                    run = json.loads(answer.read())
                    seconds.append(time.perf_counter() - began)
                    assert answer.status in {200, 201}, run
                    assert ids.setdefault(key, run["id"]) == run["id"]

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(submit_all, range(CLIENTS)))

    p99 = percentile(seconds, 0.99)
    memory = memory_of(server)
    record_property("p50_ms", round(percentile(seconds, 0.5) * 1000, 1))
    record_property("p99_ms", round(p99 * 1000, 1))
    record_property("memory_mib", round(memory / MIB, 1))
    print(f"{SUBMISSIONS} submissions: p99 {p99 * 1000:.0f} ms, server {memory / MIB:.0f} MiB")
    assert len(set(ids.values())) == SUBMISSIONS
    with server.client("read") as client:
        listed, page = [], client.get("/v1/runs?limit=500").json()
        while page["runs"]:
            listed += [run["label"] for run in page["runs"]]
            page = client.get(f"/v1/runs?limit=500&before={page['runs'][-1]['id']}").json()
    assert sorted(listed) == sorted([*ids, "sleep 1000", "sleep 1000"])
    assert memory < 150 * MIB
    if IS_FULL:
        assert p99 <= 0.25


class Attackers:
    """Connections of clients that mean harm, each kind in turn, until the block ends."""

    def __init__(self, server):
        self._server = server
        self._over = threading.Event()
        self._random = random.Random(0)
        self._open = []
        self.opened = 0

    def __enter__(self):
        self._threads = [threading.Thread(target=self._attack, args=(n,)) for n in range(4)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()
        for connection in self._open:
            connection.close()

    def _attack(self, number):
        kinds = [self._slow_head, self._endless_body, self._idle, self._never_reads]
        while self.opened < HOSTILE and not self._over.is_set():
            self.opened += 1
            with suppress(OSError):
                # Other addresses than the healthy client's, as other machines would have.
                source = f"127.0.0.{2 + self.opened % 8}"
                connection = socket.create_connection(
                    ("127.0.0.1", self._server.port), timeout=1, source_address=(source, 0)
                )
                self._open.append(connection)
                kinds[self.opened % len(kinds)](connection)

    def _head(self, path="/v1/runs"):
        token = self._server.tokens["submit"].encode()
        return (
            b"POST %b HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\n" % (path.encode(), token)
        )

    def _slow_head(self, connection):
        connection.sendall(self._head()[:50])

    def _idle(self, connection):
        del connection

    def _endless_body(self, connection):
        connection.sendall(self._head() + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(64):
            connection.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")

    def _never_reads(self, connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ask = self._head("/v1/runs?limit=500").replace(b"POST", b"GET") + b"\r\n"
        for _ in range(64):
            connection.sendall(ask)


def test_clients_that_mean_harm_slow_nobody_down(server, record_property):
    headers = headers_of(server, "read")

    def healthy(count):
        seconds = []
        with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
            for _ in range(count):
                began = time.perf_counter()
                connection.request("GET", "/v1/runs?limit=10", headers=headers)
                answer = connection.getresponse()
                answer.read()
                seconds.append(time.perf_counter() - began)
                assert answer.status == 200
        return seconds

    with server.client("submit") as client:
        for _ in range(20):
            client.post("/v1/runs", json={**SPEC, "label": "sleep 1000"})
    healthy(50)
    before = memory_of(server)
    with Attackers(server) as attackers:
        seconds = healthy(50)
        while attackers.opened < HOSTILE:
            seconds += healthy(20)
        seconds += healthy(50)
        p99, memory = percentile(seconds, 0.99), memory_of(server)
        descriptors = psutil.Process(server.pid).num_fds()

    record_property("p99_ms", round(p99 * 1000, 1))
    record_property("memory_mib", [round(one / MIB, 1) for one in (before, memory)])
    print(
        f"{attackers.opened} hostile connections: healthy p99 {p99 * 1000:.0f} ms of"
        f" {len(seconds)}, server {before / MIB:.0f} -> {memory / MIB:.0f} MiB,"
        f" {descriptors} descriptors"
    )
    assert attackers.opened >= HOSTILE
    if IS_FULL:  # a busy machine is slow, not wrong
        assert p99 < 0.5
    assert memory - before < 40 * MIB
    assert descriptors < 600

    process = psutil.Process(server.pid)
    wait_until(lambda: process.num_fds() < 60, "their connections are ended", seconds=CEILING_S)


def test_streams_that_nobody_reads_or_that_end_are_taken_away(tmp_path):
    server = ServerProcess(tmp_path, http={**LIMITS, "event_streams": 8})
    with server.client("submit") as client:
        run = client.post("/v1/runs", json={**SPEC, "label": "sleep 1000"}).json()["id"]
    ask = (
        f"GET /v1/runs/{run}/events HTTP/1.1\r\nhost: localhost\r\n"
        f"authorization: Bearer {server.tokens['read']}\r\n\r\n"
    ).encode()

    def stream():
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=CEILING_S)
        connection.sendall(ask)
        return connection, connection.recv(12)

    opened = []
    for _ in range(8):
        connection, begin = stream()
        assert begin == b"HTTP/1.1 200"
        connection.recv(4096)
        opened.append(connection)
    refused, begin = stream()
    refused.close()
    assert begin == b"HTTP/1.1 503"
    for connection in opened:
        connection.close()

    def is_free():
        connection, begin = stream()
        connection.close()
        return begin == b"HTTP/1.1 200"

    wait_until(is_free, "the streams of clients that went are taken away", pause=0.1)
    # A server that ends does not wait for streams.
    connection, _ = stream()
    assert server.stop() == 0
    connection.close()
