"""A real server that speaks S3, a plain web server, and a proxy that breaks what goes through it.

The S3 server is moto's, a process of its own. It honours ``If-None-Match: *``,
also for eight writers at once. It cannot show what several machines behind one
address do to each other, throttling, access policies, or TLS.
"""

from __future__ import annotations

import functools
import http.client
import http.server
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from support.ports import free_port
from support.started import CEILING_S, wait_until


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """Return the address of a running S3 server."""
    port = free_port()
    program = Path(sys.executable).parent / "moto_server"
    with (tmp_path_factory.mktemp("s3") / "log").open("w") as log:
        server = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(address), "the S3 server answers", server, pause=0.05)
        yield address
    finally:
        server.terminate()
        server.wait(CEILING_S)


def _answers(address):
    try:
        with urllib.request.urlopen(f"{address}/moto-api/"):
            return True
    except OSError:
        return False


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """Return ``s3://`` of a fresh, empty bucket, with the environment set to reach it."""
    name = f"bucket-{random.getrandbits(64):x}"
    with urllib.request.urlopen(urllib.request.Request(f"{s3_server}/{name}", method="PUT")):
        pass
    set_s3_environment(monkeypatch.setenv, s3_server)
    return f"s3://{name}"


def set_s3_environment(set_variable, address):
    """Point the AWS variables at a server."""
    for name, value in s3_environment(address).items():
        set_variable(name, value)


def s3_environment(address):
    """Return the AWS variables for a server."""
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def web_server(tmp_path):
    """Return a function that serves a folder over http on this machine and returns its address."""
    servers = []

    def serve(folder):
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class FaultyProxy:
    """Passes requests on to a server, and does to each what the plan says.

    ``plan`` holds one word per request, ``"ok"`` when it has run out: ``late``
    (0.05 s more), ``reset`` (cut before the server sees it), ``500`` and ``503``
    (answered here), ``cut`` (half of the reply's body), ``lost`` (the server
    has done it, the reply never arrives).
    """

    def __init__(self, upstream):
        self.plan, self.requests = [], []
        self._lock = threading.Lock()
        proxy, host = self, upstream.removeprefix("http://")

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def handle_one(self):
                fault = proxy.next_fault(f"{self.command} {self.path}")
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.close_connection = True
                if fault == "late":
                    time.sleep(0.05)
                if fault == "reset":
                    return
                if fault in {"500", "503"}:
                    self.send_response(int(fault))
                    self.send_header("Content-Length", "0")
                    self.send_header("Connection", "close")
                    self.end_headers()
                    return
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in {"connection", "host"}
                }
                # Not urllib.request: it adds a Content-Type that the server takes for a form.
                upstream_connection = http.client.HTTPConnection(host, timeout=30)
                upstream_connection.request(
                    self.command, self.path, body, {**headers, "Host": host}
                )
                with upstream_connection.getresponse() as found:
                    status, reply, fields = found.status, found.read(), found.headers
                upstream_connection.close()
                if fault == "lost":
                    return
                self.send_response(status)
                for name, value in fields.items():
                    if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                        self.send_header(name, value)
                length = (
                    int(fields.get("Content-Length", len(reply)))
                    if self.command == "HEAD"
                    else len(reply)
                )
                self.send_header("Content-Length", str(length))
                self.send_header("Connection", "close")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply[: len(reply) // 2] if fault == "cut" else reply)

            do_GET = do_PUT = do_HEAD = do_POST = handle_one  # noqa: N815

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *arguments):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def next_fault(self, request):
        with self._lock:
            self.requests.append(request)
            return self.plan.pop(0) if self.plan else "ok"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def faulty(s3_server, bucket, monkeypatch):
    """Return a proxy before the S3 server, with the environment set to go through it."""
    proxy = FaultyProxy(s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
    os.environ.pop("AWS_ENDPOINT_URL_S3", None)
    yield proxy
    proxy.close()
