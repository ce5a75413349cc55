"""A queue on a temporary folder whose runs do what their spec says: tiny programs, or work of the server."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import psutil

from crossan.cache_schema.errors import UsageError
from crossan.train.service.database import Database
from crossan.train.service.executors import LocalExecutor
from crossan.train.service.executors.marked import MARKER
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.queue import ENDED, Order, Scheduler, Slots, State, Step, Usage
from crossan.train.service.queue.rows import get_run, list_runs, submit
from crossan.train.service.queue.steps import Conclusion, InServer, Program, Skip
from crossan.train.service.specs import Limits
from support.started import wait_until

PYTHON = (sys.executable, "-I", "-S", "-c")
"""A Python that starts quickly, for a program as an argument."""


class TinySteps:
    """Does what the spec of a run says.

    ``program`` is a script of Python, or ``argv`` a command line; ``server`` names an entry of
    ``works``; ``skip`` and ``refuse`` give a reason.
    """

    def __init__(self, **works):
        self.works = works
        self.concluded = []

    def plan(self, run):
        spec = run.spec
        if "refuse" in spec:
            raise UsageError(spec["refuse"])
        if "skip" in spec:
            return Skip(spec["skip"])
        if "server" in spec:
            return InServer(lambda: self.works[spec["server"]](run))
        if "argv" in spec:
            return Program(tuple(spec["argv"]))
        return Program((*PYTHON, spec.get("program", "")), {"RUN": str(run.id)})

    def conclude(self, run, outcome):
        self.concluded.append((run.id, run.attempt, outcome))
        if outcome.exit_code == 0:
            return Conclusion(State.SUCCEEDED, result={"attempt": run.attempt})
        return Conclusion(State.FAILED, outcome.message)


def kill_leftovers(path):
    """Kill what runs of data folders below a path have left, which outlives their server."""
    for name in path.rglob("folder-id"):
        attempts = name.parent.glob("runs/*/attempt-*")
        if all((attempt / "outcome.json").exists() for attempt in attempts):
            continue
        while _killed(name.read_text()):
            pass  # a process that was being forked meanwhile is in the next list only


def _killed(identity):
    """Return how many processes of a data folder lived and were killed."""
    killed = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARKER, "").startswith(identity):
                process.kill()
                killed += 1
    return killed


class Queue:
    """A database, a folder and a scheduler, which `restart` replaces as a new server would."""

    def __init__(self, path, *, steps=None, executor=None, cpus=4, gpus=0, listeners=(), **more):
        self.folder = ServiceFolder(Path(path))
        self.folder.path.mkdir(exist_ok=True)
        self.steps = steps or TinySteps()
        self.executor = executor or LocalExecutor()
        self.total = Usage(cpus, 64.0, gpus)
        self.listeners, self.more = listeners, more
        self.open()

    def open(self):
        self.database = Database(self.folder.database)
        self.scheduler = Scheduler(
            self.database,
            self.folder,
            self.steps,
            self.executor,
            Slots(self.total),
            listeners=self.listeners,
            **self.more,
        )

    def start(self):
        self.scheduler.start()
        return self

    def close(self):
        self.scheduler.stop()
        self.database.close()

    def restart(self):
        self.close()
        self.open()
        return self.start()

    def submit(self, program="", **spec):
        """Queue a run; return its number."""
        run_id = self.database.write(lambda connection: add(connection, program, **spec))
        self.scheduler.wake()
        return run_id

    def run(self, run_id):
        return self.database.read(lambda connection: get_run(connection, run_id))

    def wait(self, run_id, *states):
        """Wait until a run is in one of the states, by default until it has ended; return it."""
        states = states or ENDED
        wait_until(lambda: self.run(run_id).state in states, f"run {run_id} in {states}")
        return self.run(run_id)

    def cancel_all(self):
        """Cancel what has not ended, and wait for its end."""
        for run in self.database.read(list_runs):
            self.scheduler.cancel(run.id, "the end of a test")
        for run in self.database.read(list_runs):
            self.wait(run.id)

    def attempt(self, run_id, number=1):
        return self.folder.attempt(run_id, number)


def add(
    connection,
    program="",
    *,
    step=Step.TRAIN,
    dataset="d",
    night=None,
    needs=None,
    limits=None,
    **spec,
):
    """Add a run to the queue of a database; return its number."""
    limits = Limits(**({"cpus": 1, "memory_gib": 1.0} | (limits or {})))
    order = Order(
        step=step,
        dataset=dataset,
        spec={"program": program, "limits": limits.model_dump(mode="json"), **spec},
        limits=limits,
        submitted_by="tester",
        created=1.0,
        night_id=night,
        needs=needs,
    )
    return submit(connection, order)[0].id


def add_night(connection, dataset="d"):
    """Add an empty night; return its number."""
    return connection.execute(
        "INSERT INTO nights (dataset, spec, reason, state, created, created_by)"
        " VALUES (?, '{}', 'by hand', 'running', 1.0, 'tester')",
        (dataset,),
    ).lastrowid
