"""Stands by one attempt on a node of a cluster.

``python -m crossan.train.service.executors.guard FOLDER MARKER``

It is to the node what the server is to its own machine: it starts the shim, ends whatever a killed
shim left, and shows by a pulse that the node lives. The folder is one that server and node share.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType

from crossan.train.service.executors.executor import Attempt, Job
from crossan.train.service.executors.local import LocalExecutor

__all__ = ["JOB_FILE", "PULSE_FILE", "PULSE_SECONDS", "job_of", "main"]

JOB_FILE = "remote-job.json"
PULSE_FILE = "pulse"
"""Touched while the guard lives."""
PULSE_SECONDS = 1.0
_LOOK_SECONDS = 0.2


def job_of(folder: Path) -> Job:
    """Return the job that the server wrote for a node.

    Its GPUs are counted from zero among those that the cluster gives the node's process.
    """
    values = json.loads((folder / JOB_FILE).read_bytes())
    return Job(
        **{**values, "argv": tuple(values["argv"]), "devices": tuple(range(values["devices"]))}
    )


def main(folder: Path, marker: str) -> int:
    """Run the attempt of a folder and return the exit code of its program.

    Returns
    -------
    int
        The code, or 1 where the program ended in another way.
    """
    attempt = Attempt(run_id=0, number=0, folder=folder, marker=marker)
    executor = LocalExecutor()
    told_to_end = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        told_to_end.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    handle = executor.start(attempt, job_of(folder))
    until_pulse = 0.0
    while (sighting := executor.look(attempt, handle)).is_alive:
        if told_to_end.is_set():
            executor.stop(attempt, handle)
        until_pulse -= _LOOK_SECONDS
        if until_pulse <= 0:
            until_pulse = PULSE_SECONDS
            with suppress(OSError):  # a full disk: the server waits for longer, and asks Ray
                (folder / PULSE_FILE).touch()
        # Woken by the signal at once, the first time.
        threading.Event().wait(_LOOK_SECONDS)
    outcome = sighting.outcome
    assert outcome is not None
    return 1 if outcome.exit_code is None or outcome.exit_code < 0 else outcome.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
