"""A server process that the tests of the commands share, and a server that answers as it is told."""

from __future__ import annotations

import http.server
import threading
from types import SimpleNamespace

import pytest

from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.registry import Registry
from support.client import invoke
from support.queued import kill_leftovers
from support.registered import registered
from support.service import ServerProcess

VARIABLES = ("CROSSAN_SERVER", "CROSSAN_SERVICE", "CROSSAN_TOKEN_FILE")


@pytest.fixture(autouse=True)
def no_settings_of_the_shell(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="package")
def server(tmp_path_factory):
    """Return a server process that the tests of this folder share, with two versions of models."""
    folder = tmp_path_factory.mktemp("server")
    data = ServiceFolder(folder / "service")
    data.path.mkdir()
    database = Database(data.database)
    registered(Registry(database, data), database, folder, 2)
    database.close()
    process = ServerProcess(folder).kept()
    yield process
    assert process.stop() == 0, process.log.read_text()
    kill_leftovers(folder)


@pytest.fixture
def call(server):
    """Return a function that runs a command on the shared server and returns what came of it."""

    def run(app, *words, **more):
        return invoke(app, *words, "--data", server.data, **more)

    return run


@pytest.fixture
def told_server(tmp_path):
    """Return a function that starts a server which gives these answers, one to each request.

    An answer is ``(status, headers, body)``; ``None`` closes the connection without a word. The
    server has ``url``, the ``requests`` it got, and a file with a ``token``.
    """
    servers = []

    def start(*answers):
        told = SimpleNamespace(requests=[], answers=list(answers))

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *given):
                pass

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                told.requests.append((self.command, self.path, dict(self.headers), body))
                answer = told.answers.pop(0) if len(told.answers) > 1 else told.answers[0]
                self.close_connection = True
                if answer is None:
                    return
                status, headers, content = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

        httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        servers.append(httpd)
        told.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        told.token = tmp_path / "token"
        told.token.write_text("t" * 32 + "\n")
        told.token.chmod(0o600)
        told.options = ("--server", told.url, "--token-file", told.token)
        return told

    yield start
    for httpd in servers:
        httpd.shutdown()
        httpd.server_close()
