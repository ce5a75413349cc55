"""The night of `test_service_night` on a real Ray cluster, one worker killed on the way."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from support.night import NIGHT, Served
from support.processes import command_line, process_ids
from support.started import wait_until


@pytest.fixture
def served(tmp_path, sampled, ray_jobs, ray_environment):
    (tmp_path / "ray.token").write_text(ray_environment["RAY_AUTH_TOKEN"])
    settings = {
        "executor": "ray",
        "ray.address": ray_jobs,
        "ray.token_file": str(tmp_path / "ray.token"),
        "ray.python": sys.executable,
        "ray.poll_seconds": 0.2,
        "local": str(tmp_path / "local"),
    }
    served = Served(tmp_path, sampled, **settings)
    yield served
    served.client.close()


def training_of(run, served):
    """Return the process id of the training of a run, None where there is none."""
    folder = str(served.folder / f"service/runs/{run}/run")
    for process in process_ids():
        command = command_line(process)
        if folder in command and "train" in command and "guard" not in command:
            return process
    return None


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.exhaustive
def test_a_night_on_ray_ends_with_a_promoted_model_though_a_worker_is_killed(served):
    first = served.post("/v1/nights", {**NIGHT, "update": False, "extract": [], "refit": "none"})
    assert served.ended_night(first["id"])["state"] == "promoted"

    served.append(10, 500)
    second = served.post("/v1/nights", NIGHT)
    training = next(run["id"] for run in second["runs"] if run["step"] == "train")
    begun = []

    def has_begun():
        begun.append(training_of(training, served))
        return begun[-1] is not None

    wait_until(has_begun, "the training begins", served.process, pause=0.05)
    os.kill(begun[-1], signal.SIGKILL)

    night = served.ended_night(second["id"])
    runs = {run["step"]: run for run in night["runs"]}
    assert night["state"] == "promoted", json.dumps(night, indent=1)
    assert (runs["train"]["state"], runs["train"]["attempt"]) == ("succeeded", 2)
    assert runs["extract"]["result"]["stores"][0]["forwarded"] == 10
    assert runs["refit"]["result"]["refit"]["trained_on"] == "all"
    assert (served.folder / "local/service.sqlite3").is_file()
