"""A queue's server as a process that is killed and started again, and programs that prove what they did."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import traceback
from collections import Counter, defaultdict
from pathlib import Path

from crossan.train.service.executors.marked import MARKER
from crossan.train.service.folder import ServiceFolder
from support.queue_server import serve
from support.started import ended_with_test, wait_until

WITNESS = """
import fcntl, os, sys, time
run, attempt = os.environ["CROSSAN_ATTEMPT"].split("/")[1:]
ledger = os.open("../../../ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
lock = os.open("../lock", os.O_WRONLY | os.O_CREAT)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    os.write(ledger, f"clash {run} {attempt}\\n".encode())
    sys.exit(1)
os.write(ledger, f"begin {run} {attempt}\\n".encode())
"""
"""Begins a program: two live attempts of one run cannot both hold its lock, and all is written down."""
WITNESSED = """
os.write(ledger, f"end {run} {attempt}\\n".encode())
"""


def witnessed(body):
    """Return a program that does something between what proves that it began and that it ended."""
    return WITNESS + body + WITNESSED


class Server:
    """A queue's server in a process forked from this one, so that it starts at once."""

    def __init__(self, path, cpus=4):
        self.folder, self._cpus = ServiceFolder(path), cpus
        self.pid = self.returncode = None

    def start(self):
        orders, self._orders = os.pipe()
        answers, answers_end = os.pipe()
        self.pid, self.returncode = os.fork(), None
        if self.pid == 0:
            self._serve(orders, answers_end)
        os.close(orders)
        os.close(answers_end)
        self._answers = os.fdopen(answers)
        ended_with_test(self)
        assert self._answer() == "ready"
        return self

    def _serve(self, orders, answers):
        """Be the server, and never come back."""
        try:
            os.close(self._orders)
            os.environ.pop(MARKER, None)
            os.dup2(orders, 0)
            os.dup2(answers, 1)
            serve(self.folder.path, self._cpus, os.fdopen(orders), os.fdopen(answers, "w"))
        except BaseException:  # noqa: BLE001 - this process has nobody above it
            traceback.print_exc()
        finally:
            os._exit(0)

    def ask(self, **order):
        """Give an order; return the answer."""
        self.send(order)
        return self._answer()

    def send(self, *orders):
        """Give orders and do not wait for the answers."""
        os.write(self._orders, "".join(json.dumps(order) + "\n" for order in orders).encode())

    def _answer(self):
        line = self._answers.readline()
        assert line, "the server ended before it answered"
        return json.loads(line)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.communicate()

    def stop(self):
        """End the server, and leave what runs running."""
        os.close(self._orders)
        self._orders = None
        self.communicate()

    def poll(self):
        if self.returncode is None:
            process, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = status if process else None
        return self.returncode

    def communicate(self):
        """Wait for the server to end."""
        wait_until(lambda: self.poll() is not None, "the end of the server")
        self._answers.close()
        if self._orders is not None:
            os.close(self._orders)
            self._orders = None

    def states(self):
        """Return how many runs are in each state."""
        return Counter(row["state"] for row in self.rows("SELECT state FROM runs"))

    def rows(self, query):
        connection = sqlite3.connect(self.folder.database)
        connection.row_factory = sqlite3.Row
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def is_idle(self):
        busy = {"waiting", "queued", "running", "stopping"}
        return not busy & set(self.states())

    def wait_until_idle(self, seconds):
        wait_until(self.is_idle, "the end of all runs", pause=0.2, seconds=seconds)

    def shims(self):
        """Return the process ids of the shims that live."""
        alive = []
        for path in self.folder.path.glob("runs/*/attempt-*/shim.json"):
            if not (path.parent / "outcome.json").exists():
                process = json.loads(path.read_text())["pid"]
                if process and Path(f"/proc/{process}").exists():
                    alive.append(process)
        return alive

    def kill_one_shim(self, chance):
        shims = self.shims()
        if shims:
            try:
                os.kill(chance.choice(shims), signal.SIGKILL)
            except ProcessLookupError:
                return False
        return bool(shims)

    def ledger(self):
        """Return what programs wrote down: for ``begin``, ``end`` and ``clash`` the attempts of each run."""
        entries = defaultdict(lambda: defaultdict(list))
        path = self.folder.path / "ledger"
        for line in path.read_text().splitlines() if path.exists() else []:
            what, run, attempt = line.split()
            entries[what][int(run)].append(int(attempt))
        return entries

    def check(self, acknowledged):
        """Check that no run was lost, none published twice, and no two attempts lived at once."""
        runs = {row["id"]: row for row in self.rows("SELECT * FROM runs")}
        assert set(acknowledged) <= set(runs)
        published = Counter(
            int(row["subject"])
            for row in self.rows("SELECT subject FROM audit WHERE action = 'ended'")
        )
        assert published == Counter(runs.keys())
        ledger = self.ledger()
        assert not ledger["clash"]
        for run_id, attempts in ledger["begin"].items():
            assert len(attempts) == len(set(attempts)), f"run {run_id} began an attempt twice"
            assert len(attempts) <= 3
            assert max(attempts) <= runs[run_id]["attempt"]
        for run_id, row in runs.items():
            if row["state"] == "succeeded":
                result = json.loads(row["result"])
                assert ledger["end"][run_id].count(result["attempt"]) == 1
        for row in self.rows("SELECT * FROM attempts"):
            assert row["ended"] is not None
            assert (self.folder.attempt(row["run_id"], row["number"]) / "outcome.json").exists()
        return runs
