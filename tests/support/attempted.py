"""One attempt on this machine, as the queue would start and watch it."""

from __future__ import annotations

import json

from crossan.train.service.executors import Attempt, Job, LocalExecutor
from crossan.train.service.executors.marked import marked
from support.queued import PYTHON
from support.started import wait_until


class Case:
    """One attempt on a temporary folder."""

    def __init__(self, folder):
        self.executor = LocalExecutor()
        self.attempt = Attempt(1, 1, folder / "attempt-1", f"{folder}/1/1")
        self.handle = None

    def start(self, program, memory_mib=4096, seconds=1000.0, silent_seconds=1000.0, **more):
        job = Job(
            argv=(*PYTHON, program),
            environment=more.pop("environment", {}),
            memory_bytes=memory_mib * 2**20,
            seconds=seconds,
            silent_seconds=silent_seconds,
            cpus=more.pop("cpus", 1),
            **more,
        )
        self.handle = self.executor.start(self.attempt, job)
        return self

    def look(self):
        return self.executor.look(self.attempt, self.handle)

    def end(self):
        """Wait for the attempt to end; return its outcome, having checked that nothing lives."""
        wait_until(lambda: not self.look().is_alive, "the end")
        assert self.program_ids() == []
        return self.look().outcome

    def program_ids(self):
        """Return the processes of the attempt beside its shim."""
        return [one.pid for one in marked(self.attempt.marker) if one.pid != self.shim]

    @property
    def shim(self):
        return json.loads((self.attempt.folder / "shim.json").read_text())["pid"]

    @property
    def output(self):
        return (self.attempt.folder / "output.log").read_text()

    def wait_for(self, text):
        wait_until(lambda: text in self.output, f"{text} in the output")
