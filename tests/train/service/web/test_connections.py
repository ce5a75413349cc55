"""A real server and clients that send too little, too slowly, too much, or never read."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import ExitStack, suppress

import pytest

from crossan.train.service.settings import HttpSettings
from crossan.train.service.web.connections import Connections
from support.service import SPEC, ServerProcess
from support.started import CEILING_S, wait_until

HTTP = {
    "head_seconds": 1.0,
    "body_seconds": 1.0,
    "write_seconds": 1.0,
    "idle_seconds": 1,
    "connections": 24,
    "connections_per_address": 16,
    "body_kib": 64,
}
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """Return a server with short limits."""
    process = ServerProcess(tmp_path_factory.mktemp("strict"), http=HTTP).kept()
    yield process
    assert process.stop() == 0, process.log.read_text()


def connect(server, source="127.0.0.1"):
    return socket.create_connection(
        ("127.0.0.1", server.port), timeout=CEILING_S, source_address=(source, 0)
    )


def rest(connection):
    """Return all that comes until the server ends the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def pushed(connection, part):
    """Send a part again and again until the server ends the connection; return the bytes sent."""
    sent = 0
    with suppress(OSError):
        while sent < 1 << 26:
            connection.sendall(part)
            sent += len(part)
    return sent


def bearer(server, role="submit"):
    return b"authorization: Bearer " + server.tokens[role].encode() + b"\r\n"


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


def is_answered(server):
    with server.client("read") as client:
        return client.get("/healthz").status_code == 200


def test_a_head_that_does_not_end_is_given_up(strict):
    began = time.monotonic()  # before the server begins to count
    with connect(strict) as connection:
        connection.sendall(GET)
        answer = rest(connection)

    assert status_of(answer) == 408
    assert b"content-security-policy" in answer
    assert time.monotonic() - began > 0.9
    assert is_answered(strict)


def test_a_head_that_drips_gains_no_time(strict):
    with connect(strict) as connection:
        began = time.monotonic()
        connection.settimeout(0.05)
        answer = b""
        for byte in GET * 100:
            try:
                connection.sendall(bytes([byte]))
                answer = connection.recv(1000)
                break
            except TimeoutError:
                assert time.monotonic() - began < CEILING_S
            except OSError:
                break

    assert answer == b"" or status_of(answer) == 408


def test_a_connection_that_sends_nothing_is_ended(strict):
    with connect(strict) as connection:
        assert rest(connection) == b""


def test_a_connection_that_waits_for_its_next_request_for_too_long_is_ended(strict):
    with connect(strict) as connection:
        connection.sendall(GET + bearer(strict) + b"\r\n")
        answer = rest(connection)

    assert status_of(answer) == 200


def test_a_body_that_does_not_end_is_given_up(strict):
    with connect(strict) as connection:
        connection.sendall(
            b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n" + bearer(strict) + b"\r\n{"
        )
        answer = rest(connection)

    assert status_of(answer) == 408
    assert is_answered(strict)


def test_an_endless_body_is_cut_off(strict):
    with connect(strict) as connection:
        connection.sendall(
            b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n" + bearer(strict) + b"\r\n"
        )
        assert pushed(connection, b"4000\r\n" + b"x" * 0x4000 + b"\r\n") < 1 << 26
        answer = rest(connection)

    # The answer is lost where the system has thrown the rest of the body away before it. A busy
    # machine may not bring as much as is too much within the second.
    assert answer == b"" or status_of(answer) in {408, 413}
    assert is_answered(strict)


def test_an_endless_body_without_a_token_is_cut_off(strict):
    with connect(strict) as connection:
        connection.sendall(
            b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        assert pushed(connection, b"4000\r\n" + b"x" * 0x4000 + b"\r\n") < 1 << 26


def test_a_client_that_does_not_read_is_ended(strict):
    with strict.client("submit") as client:
        run = client.post("/v1/runs", json={**SPEC, "label": "say " + "x" * 190}).json()
    log = strict.data / "runs" / str(run["id"]) / "attempt-1" / "output.log"
    wait_until(log.exists, "the log")
    log.write_bytes(b"x" * (1 << 20))
    ask = f"GET /v1/runs/{run['id']}/log HTTP/1.1\r\nhost: localhost\r\n".encode()
    with connect(strict) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert pushed(connection, ask + bearer(strict) + b"\r\n") < 1 << 26
    assert is_answered(strict)


def answered(server):
    """Return how many requests for the list of runs were answered."""
    with server.client("read") as client:
        lines = client.get("/metrics").text.splitlines()
    name = 'crossan_request_seconds_count{method="GET",route="/v1/runs",status="200"}'
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_what_waits_behind_an_unread_answer_is_not_answered_until_it_is_read(tmp_path):
    server = ServerProcess(tmp_path)  # with time to read
    with server.client("submit") as client:
        for _ in range(60):
            client.post("/v1/runs", json={**SPEC, "label": "x" * 200}).raise_for_status()
    ask = b"GET /v1/runs?limit=500 HTTP/1.1\r\nhost: localhost\r\n" + bearer(server)
    with connect(server) as connection:
        connection.sendall((ask + b"\r\n") * 63 + ask + b"connection: close\r\n\r\n")
        # As far as it goes: the requests behind it come no nearer.
        wait_until(lambda: 0 < answered(server) == answered(server), "it waits", pause=0.2)
        assert answered(server) < 16
        assert is_answered(server)
        answers = rest(connection)

    assert answers.count(b"HTTP/1.1 200") == 64
    assert server.stop() == 0


class Stalled:
    """A connection whose client has left some bytes unread."""

    def __init__(self, unread_bytes):
        self.unread_bytes = unread_bytes
        self.transport = self
        self.address = "a"
        self.is_aborted = False

    def abort(self):
        self.is_aborted = True


def test_answers_that_nobody_reads_share_a_bound_and_the_oldest_goes_first():
    connections = Connections(HttpSettings(), time.monotonic)
    stalled = [Stalled(3 << 20) for _ in range(5)]
    for one in stalled[:2]:
        connections.note_unread(one)
    connections.note_read(stalled[0])
    connections.note_unread(stalled[0])  # later than the second one now
    for one in stalled[2:]:
        connections.note_unread(one)

    assert [one.is_aborted for one in stalled] == [True, True, True, False, False]
    # A single answer may be larger than the bound.
    connections = Connections(HttpSettings(), time.monotonic)
    huge = Stalled(20 << 20)
    connections.note_unread(huge)
    assert not huge.is_aborted


def test_connections_that_the_server_has_yet_to_take_wait(tmp_path):
    server = ServerProcess(tmp_path)
    with ExitStack() as opened:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            waiting = [opened.enter_context(connect(server)) for _ in range(100)]
        finally:
            os.kill(server.pid, signal.SIGCONT)
        for connection in waiting:
            assert health_of(connection, GET + bearer(server) + b"\r\n") == 200


def health_of(connection, ask):
    """Ask for the server's health and return the status, with the connection left open."""
    connection.sendall(ask)
    answer = b""
    while not answer.endswith(b"}"):
        part = connection.recv(65536)
        assert part, "the server has ended the connection"
        answer += part
    return status_of(answer)


def test_where_all_connections_are_taken_the_address_with_most_gives_one_up(tmp_path):
    server = ServerProcess(tmp_path, http={"connections": 24, "connections_per_address": 16})
    ask = GET + bearer(server) + b"\r\n"
    with ExitStack() as opened:
        alone = opened.enter_context(connect(server, "127.0.0.7"))
        assert health_of(alone, ask) == 200
        # It has waited for longest when the others take all there are.
        for number in range(30):
            other = opened.enter_context(connect(server, f"127.0.0.{10 + number % 2}"))
        assert health_of(other, ask) == 200
        assert health_of(alone, ask) == 200


def test_more_connections_than_one_address_may_have_end_those_that_wait(strict):
    waiting = [connect(strict, "127.0.0.9") for _ in range(40)]
    try:
        # The newest ones are served. Each has a second for its request.
        for connection in waiting[-3:]:
            connection.sendall(GET + bearer(strict) + b"connection: close\r\n\r\n")
        for connection in waiting[-3:]:
            assert status_of(rest(connection)) == 200
        assert rest(waiting[0]) == b""
        assert is_answered(strict)
    finally:
        for connection in waiting:
            connection.close()


def test_what_is_no_http_is_answered_in_our_shape(strict):
    for junk in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET\r\n\r\n", b"\0\r\n\r\n"):
        with connect(strict) as connection:
            connection.sendall(junk)
            answer = rest(connection)
        assert status_of(answer) == 400
        assert b"default-src 'none'" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_a_head_that_is_too_large_is_refused(strict):
    with connect(strict) as connection:
        connection.sendall(GET + b"x: " + b"y" * 40_000)
        answer = rest(connection)

    assert answer == b"" or status_of(answer) == 400
    assert is_answered(strict)


def test_requests_one_behind_the_other_are_all_answered(strict):
    with connect(strict) as connection:
        one = GET + bearer(strict) + b"\r\n"
        connection.sendall(one * 5)
        answer = rest(connection)

    assert answer.count(b"HTTP/1.1 200") == 5


def test_a_request_hidden_in_a_body_is_no_request(strict):
    hidden = b"GET /v1/runs HTTP/1.1\r\nhost: localhost\r\n\r\n"
    for header in (
        b"content-length: 0\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"content-length: +5\r\n",
    ):
        with connect(strict) as connection:
            connection.sendall(
                b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\n" + header + b"\r\n" + hidden
            )
            answer = rest(connection)
        assert answer.count(b"HTTP/1.1 ") <= 1, header
        assert answer == b"" or status_of(answer) in {400, 401}
