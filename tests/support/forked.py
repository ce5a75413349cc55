"""Our commands in processes forked from one that has imported everything: they start at once and can be killed anywhere."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from support.started import CEILING_S, ended_with_test

_PROGRAM = Path(__file__).with_name("zygote.py")
_STAND_IN = """#!{python} -IS
import json, os, socket, sys

with socket.create_connection({address}) as server:
    order = [os.path.basename(sys.argv[0]), sys.argv[1:], dict(os.environ), os.getcwd()]
    server.sendall(json.dumps(order).encode() + b"\\n")
    code, printed, said = json.loads(server.makefile().readline())
sys.stdout.write(printed)
sys.stderr.write(said)
sys.exit(code)
"""


class Zygote:
    """The process that the commands are forked from."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-P", _PROGRAM],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._lock = threading.Lock()

    def ask(self, order):
        """Give an order; return the answer."""
        with self._lock:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(CEILING_S) == 0
        self.process.stdout.close()


class Forked:
    """A running command, used as a `subprocess.Popen` is."""

    def __init__(self, zygote, order):
        self._zygote, self._order = zygote, order
        self.pid, self.returncode = zygote.ask({"start": order}), None

    def poll(self):
        """Return the exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._zygote.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout=CEILING_S):
        """Wait for the command; return its exit code."""
        deadline, pause = time.monotonic() + timeout, 0.0005
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self._order["program"], timeout)
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        return self.returncode

    def send_signal(self, number):
        """Send a signal; until it was polled, the process id of a command that has ended is its own."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout=CEILING_S):
        """Wait for the command; return what it printed and what it said."""
        self.wait(timeout)
        return tuple(Path(self._order[name]).read_text() for name in ("stdout", "stderr"))


class Commands:
    """Starts ``crossan``, ``crossan-extract`` and ``crossan-train``, forked."""

    def __init__(self, zygote, folder):
        self._zygote, self._folder, self._count = zygote, folder, 0
        self._log, self._last = folder / "log", None

    def start(self, program, *arguments, after=0, environment=None, folder="/", log=None):
        """Start a command, which the end of the test ends.

        Parameters
        ----------
        after
            Where it is not 0, the command dies in place of its n-th call that syncs, renames or links.
        environment
            In place of this process's; XDG_CACHE_HOME is a folder of the tests', torch has one thread.
        log
            What it prints and says goes there; None for a file each.
        """
        self._count += 1
        files = [self._folder / f"{self._count}.{name}" for name in ("stdout", "stderr")]
        own = {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(self._folder / "xdg")}
        order = {
            "program": program,
            "arguments": [str(argument) for argument in arguments],
            "after": after,
            "environment": (os.environ if environment is None else environment) | own,
            "folder": str(folder),
            "stdout": str(log or files[0]),
            "stderr": str(log or files[1]),
        }
        return ended_with_test(Forked(self._zygote, order))

    def begin(self, program, *arguments, after=0, environment=None):
        """Start a command whose output goes where that of the last ones is; return its process id."""
        environment = {**os.environ, **(environment or {})}
        self._last = self.start(
            program, *arguments, after=after, environment=environment, log=self._log
        )
        return self._last.pid

    def end(self):
        """Wait for the command that was begun last; return its exit code, negative for a signal."""
        return self._last.wait()

    def output(self):
        """Return what all commands since the last `finish` have printed and said."""
        return self._log.read_text()

    def finish(self, program, *arguments, environment=None):
        """Run a command to its end and return the JSON object it prints last."""
        self._log.write_text("")
        self.begin(program, *arguments, environment=environment)
        assert self.end() == 0, self.output()
        return json.loads(self.output().splitlines()[-1])


@pytest.fixture(scope="session")
def zygote():
    started = Zygote()
    yield started
    started.close()


@pytest.fixture(scope="module")
def commands(zygote, tmp_path_factory):
    """Return what starts our commands at once, and lets a test kill them anywhere."""
    return Commands(zygote, tmp_path_factory.mktemp("commands"))


@pytest.fixture
def forked_programs(commands, tmp_path):
    """Return a folder for the PATH of a shell: in it our programs, which have their commands forked.

    A command reads nothing from stdin; what it printed and said comes at its end.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            program, arguments, environment, folder = json.loads(self.rfile.readline())
            process = commands.start(program, *arguments, environment=environment, folder=folder)
            answer = [process.wait(), *process.communicate()]
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    folder = tmp_path / "programs"
    folder.mkdir()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("crossan", "crossan-extract", "crossan-train"):
            text = _STAND_IN.format(python=sys.executable, address=server.server_address)
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        yield folder
        server.shutdown()
