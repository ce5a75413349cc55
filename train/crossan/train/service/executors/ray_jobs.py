"""Attempts as jobs of a Ray cluster, which shares the service's data folder.

The queue stays ours: Ray is asked to run one attempt at a time, and when its head has lost all it
knew, the attempts are found lost and go on from their checkpoints as new ones.
"""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace

from crossan.cache_schema.errors import RemoteError
from crossan.common.files import replace_unsynced
from crossan.common.refusals import blaming
from crossan.train.service.executors.executor import Attempt, Job, Outcome, Sighting, StopReason
from crossan.train.service.executors.guard import JOB_FILE, PULSE_FILE
from crossan.train.service.executors.jobs_api import JobsApi, JobStatus
from crossan.train.service.executors.local import read_outcome

__all__ = ["RayExecutor"]

_PULSELESS_SECONDS = 20.0
"""Without a pulse, of a job that Ray has given up, after which no process of it is left.

A shim whose guard was killed sees the file ``stop``, and needs up to ten seconds to end."""
_STOP_SECONDS = 12.0
"""After which Ray is asked to stop a job whose shim has not ended it."""
_SUBMIT_SECONDS = 300.0
"""For which a cluster that does not answer is asked to take a job."""


@dataclass(slots=True)
class _Watched:
    """What is known of one attempt between two looks."""

    attempt: Attempt
    job: Job | None = None
    """To be submitted; None once Ray has it."""
    status: JobStatus | None = None
    """None before the first answer."""
    refusal: str = ""
    since: float = field(default_factory=time.monotonic)
    pulse: int = 0
    pulse_seen: float = field(default_factory=time.monotonic)
    asked_to_stop: float | None = None


class RayExecutor:
    """Runs attempts on a Ray cluster through its Jobs REST API.

    One thread speaks with the cluster, so that a slow answer never holds up the queue.

    Parameters
    ----------
    api
        The cluster's jobs.
    python
        Python of its nodes.
    poll_seconds
        Seconds between two looks at its jobs.
    """

    name = "ray"

    def __init__(self, api: JobsApi, python: str, poll_seconds: float = 1.0) -> None:
        self._api, self._python, self._poll_seconds = api, python, poll_seconds
        self._watched: dict[str, _Watched] = {}
        self._lock = threading.Lock()
        self._work = threading.Event()
        threading.Thread(target=self._speak, name="ray", daemon=True).start()

    def start(self, attempt: Attempt, job: Job) -> str:
        """Have the attempt submitted, and return the id of its job."""
        with blaming(attempt.folder):
            attempt.folder.mkdir(parents=True, exist_ok=True)
        argv = (self._python, *job.argv[1:]) if job.argv[0] == sys.executable else job.argv
        remote = {**asdict(replace(job, argv=argv)), "devices": len(job.devices)}
        replace_unsynced(attempt.folder / JOB_FILE, json.dumps(remote).encode())
        with self._lock:
            self._watched[attempt.marker] = _Watched(attempt, job)
        self._work.set()
        return _submission_id(attempt)

    def look(self, attempt: Attempt, handle: str | None) -> Sighting:
        """Return how an attempt is, as its files and the cluster's last answer say."""
        del handle  # the id of the job follows from the marker
        watched = self._watch(attempt)
        outcome = read_outcome(attempt.folder)
        if outcome is None:
            outcome = self._given_up(watched)
        elif outcome.reason == "cancelled" and watched.asked_to_stop is None:
            # Nobody of ours cancelled it: its node did, or we did once Ray had given it up.
            outcome = replace(outcome, reason="lost")
        if outcome is None:
            return Sighting(is_alive=True)
        with self._lock:
            self._watched.pop(attempt.marker, None)
        return Sighting(is_alive=False, outcome=outcome)

    def stop(self, attempt: Attempt, handle: str | None) -> None:
        """Ask an attempt to end: by its folder, and by Ray where that does not do."""
        del handle
        watched = self._watch(attempt)
        if watched.asked_to_stop is None:
            watched.asked_to_stop = time.monotonic()
        _touch_stop(attempt)
        self._work.set()

    def _watch(self, attempt: Attempt) -> _Watched:
        with self._lock:
            watched = self._watched.setdefault(attempt.marker, _Watched(attempt))
        self._work.set()
        return watched

    def _given_up(self, watched: _Watched) -> Outcome | None:
        """Return the outcome of an attempt whose processes are gone, None while one may live."""
        now = time.monotonic()
        was_cancelled = watched.asked_to_stop is not None
        if watched.job is not None:  # nothing was submitted yet
            if was_cancelled:
                watched.job = None
                return Outcome("cancelled", message="It was cancelled before Ray took it.")
            if now - watched.since > _SUBMIT_SECONDS:
                watched.job = None
                return Outcome("lost", message=watched.refusal)
            return None
        if watched.status is None or watched.status.is_alive:
            watched.pulse_seen = now
            return None
        # Ray says that the guard is gone. A shim may live on where the guard alone was killed.
        _touch_stop(watched.attempt)
        with suppress(OSError):
            pulse = (watched.attempt.folder / PULSE_FILE).stat().st_mtime_ns
            if pulse != watched.pulse:
                watched.pulse, watched.pulse_seen = pulse, now
        has_begun = (watched.attempt.folder / "shim.json").exists()
        if has_begun and now - watched.pulse_seen < _PULSELESS_SECONDS:
            return None
        reason: StopReason = "cancelled" if was_cancelled else "lost"
        return Outcome(reason, message=f"Ray says of its job: {watched.status.lower()}")

    def _speak(self) -> None:
        """Submit, look at and stop jobs, for as long as the server lives."""
        while True:
            self._work.wait()
            with self._lock:
                watched = list(self._watched.values())
                if not watched:
                    self._work.clear()
            for each in watched:
                try:
                    self._speak_of(each)
                except RemoteError as error:
                    each.refusal = str(error)
            time.sleep(self._poll_seconds if watched else 0)

    def _speak_of(self, watched: _Watched) -> None:
        name, job = _submission_id(watched.attempt), watched.job
        if job is not None:
            self._api.submit(name, self._body(watched.attempt, job))
            watched.job = None
        watched.status = self._api.status(name)
        asked = watched.asked_to_stop
        if asked is not None and watched.status.is_alive:
            is_late = time.monotonic() - asked > _STOP_SECONDS
            # One that waits for room has no shim that could see the file.
            if is_late or watched.status is JobStatus.PENDING:
                self._api.stop(name)

    def _body(self, attempt: Attempt, job: Job) -> dict[str, object]:
        guard = "crossan.train.service.executors.guard"
        argv = [self._python, "-m", guard, str(attempt.folder), attempt.marker]
        return {
            # Ray hands this text to a shell; nothing in it is a client's.
            "entrypoint": shlex.join(argv),
            "entrypoint_num_cpus": job.cpus,
            "entrypoint_num_gpus": len(job.devices),
            "entrypoint_memory": job.memory_bytes,
            "metadata": {"run": str(attempt.run_id), "attempt": str(attempt.number)},
        }


def _submission_id(attempt: Attempt) -> str:
    """Return the id of an attempt's job, the same after any restart."""
    return f"crossan-{attempt.marker.replace('/', '-')}"


def _touch_stop(attempt: Attempt) -> None:
    with suppress(OSError):
        (attempt.folder / "stop").touch()
