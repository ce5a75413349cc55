"""A message goes to a program without a shell, or to an allowed host without redirects."""

import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from crossan.cache_schema.errors import RemoteError
from crossan.train.service.nights import sending
from crossan.train.service.nights.sending import post, run_command
from support.processes import is_alive
from support.started import wait_until

MESSAGE = {"id": "crossan-night-1", "text": "; touch /tmp/owned; $(id)"}


def test_a_command_gets_the_message_on_its_standard_input(tmp_path):
    target = tmp_path / "it's; here"
    run_command(["tee", str(target)], MESSAGE)
    assert json.loads(target.read_text()) == MESSAGE


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/nowhere/to/be/found"], "could not be started: No such file"),
        ([sys.executable, "-c", "import sys; sys.exit('no room')"], "exit code 1: no room"),
    ],
)
def test_a_command_that_fails_is_an_error(command, message):
    with pytest.raises(RemoteError, match=message):
        run_command(command, MESSAGE)


def test_a_command_that_reads_nothing_is_no_error():
    run_command(["true"], {"id": "x", "text": "y" * 1_000_000})


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path):
    noted = tmp_path / "child"
    script = 'sleep 600 & echo $! > "$0"; sleep 600'  # nothing to wait for before it is noted
    with pytest.raises(RemoteError, match=r"sh: took more than 3 seconds"):
        run_command(["sh", "-c", script, str(noted)], MESSAGE, seconds=3)
    child = int(noted.read_text())
    wait_until(lambda: not is_alive(child), "the child's end")


class Receiver(BaseHTTPRequestHandler):
    answer = 200
    location = None
    received = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, self.headers, body))
        self.send_response(type(self).answer)
        if type(self).location:
            self.send_header("Location", type(self).location)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    handler = type("Handler", (Receiver,), {"received": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield handler, server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_webhook_gets_json(receiver):
    handler, port = receiver
    post(f"http://localhost:{port}/hook?room=1", MESSAGE, ["localhost"])
    ((path, headers, body),) = handler.received
    assert (path, json.loads(body)) == ("/hook?room=1", MESSAGE)
    assert headers["Host"] == f"localhost:{port}"
    assert headers["Idempotency-Key"] == "crossan-night-1"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (302, "answered 302, and redirects are not followed"),
        (307, "answered 307, and redirects are not followed"),
        (500, "answered 500"),
        (404, "answered 404"),
    ],
)
def test_whatever_is_no_success_is_an_error(receiver, answer, message):
    handler, port = receiver
    handler.answer, handler.location = answer, f"http://127.0.0.1:{port}/elsewhere"
    with pytest.raises(RemoteError, match=message):
        post(f"http://127.0.0.1:{port}/", MESSAGE, ["127.0.0.1"])
    assert len(handler.received) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://other.example/", "expected a host among messages.allowed_hosts"),
        ("https://chat.example@other.example/", "webhook other.example: expected a host among"),
        ("https://chat.example.other.example/", "expected a host among"),
        ("file:///etc/passwd", "expected an address that begins with https://"),
        ("ftp://chat.example/", "expected an address that begins with https://"),
        ("https:///nothing", "expected an address that begins with https://"),
    ],
)
def test_a_host_that_is_not_allowed_is_never_looked_up(url, message, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", None)
    with pytest.raises(RemoteError, match=message):
        post(url, MESSAGE, ["chat.example"])


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1", "::ffff:127.0.0.1"]
)
def test_a_name_that_leads_to_this_machine_or_its_credentials_is_refused(address, monkeypatch):
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))
    monkeypatch.setattr(sending.socket, "getaddrinfo", lambda *_, **__: [entry])
    with pytest.raises(RemoteError, match="expected an address of another machine"):
        post("http://chat.example/", MESSAGE, ["chat.example"])


def test_the_address_that_was_checked_is_the_one_that_is_used(receiver, monkeypatch):
    """A name that resolves to another address at the second look is not looked up again."""
    handler, port = receiver
    answers = iter(["127.0.0.1"])

    def resolve(host, *_, **__):
        if host == "localhost":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    monkeypatch.setattr(sending.socket, "getaddrinfo", resolve)
    post(f"http://localhost:{port}/", MESSAGE, ["localhost"])
    assert len(handler.received) == 1


def test_a_host_that_never_answers_is_given_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(RemoteError, match="timed out"):
            post(
                f"http://127.0.0.1:{silent.getsockname()[1]}/", MESSAGE, ["127.0.0.1"], seconds=0.3
            )
