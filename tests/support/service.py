"""A service whose steps are tiny programs, in this process or served by one of its own.

``python -m support.service FOLDER`` serves one: what `crossan serve` does, with steps that a run's
label names.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from crossan.train.service.queue.rows import State
from crossan.train.service.queue.steps import Conclusion, Program
from crossan.train.service.server import Service
from support.nightly import make_settings, write_description
from support.started import CEILING_S, ended_with_test, start, wait_until

SPEC = {"dataset": "shop", "settings": {"model.kind": "popularity"}, "limits": {"memory_gib": 0.5}}
"""A spec that the door lets pass."""


_SCRIPTS = {
    "sleep": "exec sleep $0",
    "fail": "echo it failed >&2; exit 1",
    "say": "echo $0",
    "die": "kill -9 $$",
    "held": "until [ -e ../go ]; do sleep 0.05; done",
}


class TinySteps:
    """Does what the label of a run says: ``sleep 2``, ``fail``, ``say WORD``; nothing by default.

    ``held`` goes on until the folder of the run has a file ``go``.
    """

    def plan(self, run):
        word, _, argument = run.label.partition(" ")
        return Program(("/bin/sh", "-c", _SCRIPTS.get(word, "exit 0"), argument or "0"))

    def conclude(self, run, outcome):
        if outcome.exit_code == 0:
            return Conclusion(State.SUCCEEDED, result={"label": run.label})
        return Conclusion(State.FAILED, outcome.message or f"exit code {outcome.exit_code}")


def service_settings(folder, **more):
    """Return settings of a service over one small dataset, ``shop``, which is made."""
    settings = make_settings(folder, port=0, **{"slots": {"cpus": 2}, **more})
    write_description(folder / "roots" / "shop")
    return settings


def small_service(folder, **more):
    """Return a service that is not started; the caller stops it."""
    return Service(service_settings(folder, **more), folder / "service", steps=TinySteps())


class ServerProcess:
    """A server in a process of its own.

    ``folder`` holds its data folder ``service``; ``changes`` are settings, and ``restore_from``.
    What it says stands in ``log``.
    """

    module = "support.service"
    """Program that serves."""

    def __init__(self, folder, environment=None, wrapper=(), **changes):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = folder / "service"
        self.log = folder / "log"
        command = [*wrapper, sys.executable, "-m", self.module, folder, json.dumps(changes)]
        path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path[1:]])
        with self.log.open("a") as log:
            self.process = start(
                *command,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path, **(environment or {})},
            )
        address_file = self.data / "address.json"
        wait_until(lambda: self._answers(address_file), f"the server answers: {self.log}", None)
        tokens = tomllib.loads((self.data / "tokens.toml").read_text())["token"]
        self.tokens = {one["role"]: one["token"] for one in tokens}

    def _answers(self, address_file):
        if self.process.poll() is not None:
            pytest.fail(f"the server ended with {self.process.returncode}: {self.log.read_text()}")
        try:
            address = json.loads(address_file.read_text())
        except FileNotFoundError:
            return False
        self.url = address["url"]
        self.pid = address["pid"]
        self.port = int(self.url.rpartition(":")[2])
        try:
            httpx.get(f"{self.url}/healthz", timeout=CEILING_S)
        except httpx.TransportError:
            return False
        return True

    def client(self, role="admin", **more):
        """Return an HTTP client with the token of a role, none for None."""
        headers = {} if role is None else {"authorization": f"Bearer {self.tokens[role]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=CEILING_S, **more)

    def kept(self):
        """Return this server, kept beyond the test that started it."""
        from support import started

        started._started.remove(self.process)
        return self

    def stop(self):
        """End the server as an operator would, and return its exit code."""
        # Not the process itself, which a wrapper may be.
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(CEILING_S)


def serve(folder, changes, steps=None):
    """Serve a small service from this process."""
    from crossan.train.service.server.logs import start_logging
    from crossan.train.service.web.listening import listening_socket, run_service
    from crossan.train.service.web.tokens import load_tokens, make_tokens

    start_logging()
    restore_from = changes.pop("restore_from", None)
    settings = service_settings(folder, **changes)
    service = Service(
        settings, folder / "service", steps=steps or TinySteps(), restore_from=restore_from
    )
    make_tokens(service.folder.tokens)
    tokens = load_tokens(service.folder.tokens)
    listener = listening_socket(settings.host, settings.port)
    run_service(service, tokens, listener, lambda url: None)


__all__ = [
    "SPEC",
    "ServerProcess",
    "TinySteps",
    "ended_with_test",
    "serve",
    "service_settings",
    "small_service",
]

if __name__ == "__main__":
    serve(Path(sys.argv[1]), json.loads(sys.argv[2]))
