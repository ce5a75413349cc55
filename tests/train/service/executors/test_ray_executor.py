"""The executor of Ray against a cluster whose answers the test gives, with real shims."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from crossan.cache_schema.errors import RemoteError
from crossan.train.service.executors import Attempt, Job, ray_jobs
from crossan.train.service.executors.jobs_api import JobStatus
from crossan.train.service.executors.marked import marked
from crossan.train.service.executors.ray_jobs import RayExecutor
from support.processes import command_line, process_ids
from support.started import wait_until


class Jobs:
    """Ray's jobs, each a process of this machine that the entrypoint starts."""

    def __init__(self):
        self.processes, self.refusals, self.asked = {}, 0, threading.Event()

    def submit(self, submission_id, job):
        if self.refusals:
            self.refusals -= 1
            raise RemoteError("the cluster does not answer")
        if submission_id not in self.processes:
            self.processes[submission_id] = subprocess.Popen(job["entrypoint"], shell=True)

    def status(self, submission_id):
        process = self.processes.get(submission_id)
        if process is None:
            return JobStatus.MISSING
        code = process.poll()
        if code is None:
            return JobStatus.RUNNING
        return JobStatus.SUCCEEDED if code == 0 else JobStatus.FAILED

    def stop(self, submission_id):
        if submission_id in self.processes:
            self.processes[submission_id].terminate()


@pytest.fixture
def jobs():
    jobs = Jobs()
    yield jobs
    for process in jobs.processes.values():
        process.kill()
        process.wait()


@pytest.fixture
def executor(jobs, monkeypatch):
    monkeypatch.setattr(ray_jobs, "_PULSELESS_SECONDS", 4.0)
    made = RayExecutor(jobs, sys.executable, poll_seconds=0.05)
    yield made
    made._watched.clear()  # its thread asks for what it watches as long as this process lives


def attempt_in(tmp_path, number=1):
    return Attempt(7, number, tmp_path / f"attempt-{number}", f"{tmp_path.name}/7/{number}")


def job_of(program, **limits):
    values = {"memory_bytes": 2**30, "seconds": 1000.0, "silent_seconds": 1000.0, "cpus": 1}
    return Job((sys.executable, "-c", program), {"GREETING": "good day"}, **{**values, **limits})


def end_of(executor, attempt, handle):
    sightings = []

    def has_ended():
        sightings.append(executor.look(attempt, handle))
        return not sightings[-1].is_alive

    wait_until(has_ended, "the attempt to end", pause=0.05)
    wait_until(lambda: not marked(attempt.marker), "all its processes to end", pause=0.05)
    return sightings[-1].outcome


def test_a_job_runs_under_a_shim_of_its_node(executor, tmp_path):
    attempt = attempt_in(tmp_path)

    handle = executor.start(attempt, job_of("import os; print(os.environ['GREETING'])"))

    assert handle == f"crossan-{tmp_path.name}-7-1"
    outcome = end_of(executor, attempt, handle)
    assert (outcome.reason, outcome.exit_code) == ("exited", 0)
    assert (attempt.folder / "output.log").read_text() == "good day\n"


def test_a_cluster_that_does_not_answer_for_a_while_gets_the_job_later(executor, jobs, tmp_path):
    jobs.refusals = 3
    attempt = attempt_in(tmp_path)

    handle = executor.start(attempt, job_of("pass"))

    assert end_of(executor, attempt, handle).exit_code == 0


def test_a_cancelled_job_ends_with_all_its_processes(executor, tmp_path):
    attempt = attempt_in(tmp_path)
    handle = executor.start(
        attempt, job_of("import time; print('on', flush=True); time.sleep(1000)")
    )
    wait_until(lambda: (attempt.folder / "output.log").exists(), "the program", pause=0.05)

    executor.stop(attempt, handle)

    assert end_of(executor, attempt, handle).reason == "cancelled"


def test_a_job_that_is_cancelled_before_ray_takes_it_never_runs(executor, jobs, tmp_path):
    jobs.refusals = 10**6
    attempt = attempt_in(tmp_path)
    handle = executor.start(attempt, job_of("pass"))

    executor.stop(attempt, handle)

    assert end_of(executor, attempt, handle).reason == "cancelled"
    assert not jobs.processes


def test_a_job_that_ray_has_lost_before_it_began_is_lost(executor, tmp_path):
    attempt = attempt_in(tmp_path)
    attempt.folder.mkdir()

    assert end_of(executor, attempt, f"crossan-{tmp_path.name}-7-1").reason == "lost"


def test_a_job_whose_guard_is_killed_is_lost_with_all_its_processes(executor, jobs, tmp_path):
    attempt = attempt_in(tmp_path)
    handle = executor.start(
        attempt, job_of("import time; print('on', flush=True); time.sleep(1000)")
    )
    wait_until(lambda: (attempt.folder / "output.log").exists(), "the program", pause=0.05)

    for process in process_ids():
        command = command_line(process)
        if "executors.guard" in command and attempt.marker in command:
            os.kill(process, signal.SIGKILL)

    # The shim ends by the file that the server leaves; nobody of ours cancelled the run.
    assert end_of(executor, attempt, handle).reason == "lost"


def test_a_server_that_is_restarted_finds_its_job_again(executor, jobs, tmp_path):
    attempt = attempt_in(tmp_path)
    program = f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.05)"
    executor.start(attempt, job_of(program))
    wait_until(lambda: (attempt.folder / "shim.json").exists(), "the shim", pause=0.05)

    later = RayExecutor(jobs, sys.executable, poll_seconds=0.05)
    assert later.look(attempt, None).is_alive
    (tmp_path / "go").touch()

    assert end_of(later, attempt, None).exit_code == 0
