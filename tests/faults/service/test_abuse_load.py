"""Many clients at once, and clients that mean harm, while others are served.

``CROSSAN_FAULTS=full`` takes the counts of docs/benchmarks/service.md.
"""

from __future__ import annotations

import os
import socket

import psutil
import pytest

from support.crowd import Crowd
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


def test_submissions_of_many_clients_are_all_kept_and_none_twice(server, record_property):
    with server.client("submit") as client:
        for _ in range(2):
            client.post("/v1/runs", json={**SPEC, "label": "sleep 1000"})
        wait_until(
            lambda: len(client.get("/v1/runs?state=running").json()["runs"]) == 2, "two runs go"
        )
    each = SUBMISSIONS // CLIENTS
    crowd = Crowd("submitters", server, "submit", clients=CLIENTS, each=each, spec=SPEC)
    report = crowd.end()
    seconds, ids = report["seconds"], report["ids"]

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


def test_clients_that_mean_harm_slow_nobody_down(server, record_property):
    with server.client("submit") as client:
        for _ in range(20):
            client.post("/v1/runs", json={**SPEC, "label": "sleep 1000"})
        for _ in range(50):
            client.get("/v1/runs?limit=10").raise_for_status()
    process = psutil.Process(server.pid)
    before = memory_of(server)
    healthy = Crowd("healthy", server, "read")
    assert healthy.report()["has_begun"]
    attackers = Crowd("attackers", server, "submit", count=HOSTILE)
    attack = attackers.report()
    opened, attacked_for = attack["opened"], attack["seconds"]
    memory, descriptors = memory_of(server), process.num_fds()
    # The server ends them: they are still open on the other side.
    wait_until(lambda: process.num_fds() < 60, "their connections are ended", seconds=CEILING_S)
    seconds = healthy.end()["seconds"]
    attackers.end()
    after = memory_of(server)

    p99 = percentile(seconds, 0.99)
    record_property("p99_ms", round(p99 * 1000, 1))
    record_property("memory_mib", [round(one / MIB, 1) for one in (before, memory, after)])
    print(
        f"{opened} hostile connections in {attacked_for:.1f} s: healthy p99 {p99 * 1000:.0f} ms of"
        f" {len(seconds)}, server {before / MIB:.0f} -> {memory / MIB:.0f} -> {after / MIB:.0f} MiB,"
        f" {descriptors} descriptors"
    )
    assert opened == HOSTILE
    assert len(seconds) >= (50 if IS_FULL else 2)
    if IS_FULL:  # a busy machine is slow, not wrong
        assert p99 < 0.5
    assert memory - before < 24 * MIB
    assert after - before < 24 * MIB
    assert descriptors < 600


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
