"""A Ray cluster on the loopback interface, made by ``ray start``; every process is ended by its id."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.ports import free_port
from support.processes import command_line, descendants, is_alive
from support.started import CEILING_S, PROGRAMS, finish, wait_until


@pytest.fixture(scope="session")
def ray_environment(tmp_path_factory):
    """Keep Ray on the loopback interface and out of the home folder, and commands to what they are given."""
    ours = {"RAY_ADDRESS", "WORLD_SIZE", "CROSSAN_DATASET", "CROSSAN_CACHE"}
    return {
        **{name: value for name, value in os.environ.items() if name not in ours},
        "OMP_NUM_THREADS": "1",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("xdg")),
    }


@pytest.fixture(scope="module")
def ray_cluster(ray_environment):
    """Start a cluster of two cores; return its options for a command, and the process all others descend from."""
    port = free_port()
    with _cluster(ray_environment, f"--port={port}", "--include-dashboard=false") as (head, _):
        yield ["--engine", "ray", "--address", f"127.0.0.1:{port}", "--workers", "2"], head.pid


@pytest.fixture
def ray_jobs(ray_environment):
    """Start a cluster of two cores that takes jobs; return the address of its dashboard."""
    address = f"127.0.0.1:{(port := free_port())}"
    options = [f"--dashboard-port={port}", "--dashboard-host=127.0.0.1", f"--port={free_port()}"]
    with _cluster(ray_environment, *options) as (head, _):
        token = ray_environment["RAY_AUTH_TOKEN"]
        wait_until(lambda: _answers(address, token), "Ray's dashboard", process=head, pause=0.2)
        yield f"http://{address}"


@contextlib.contextmanager
def _cluster(environment, *options):
    temporary = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # a socket's path has <= 107 bytes
    common = ["--head", "--block", "--num-cpus=2", "--object-store-memory=80000000"]
    common += ["--node-ip-address=127.0.0.1", f"--temp-dir={temporary}"]
    with (temporary / "head.log").open("w") as log:
        head = subprocess.Popen(
            [PROGRAMS / "ray", "start", *common, *options], env=environment, stdout=log, stderr=log
        )
    try:
        wait_until(
            lambda: list(temporary.glob("session_*/sockets/raylet*")), "ray start", process=head
        )
        yield head, temporary
    finally:
        left = descendants(head.pid)
        head.terminate()
        head.wait(CEILING_S)
        for process in left:
            wait_until(
                lambda process=process: not is_alive(process), f"Ray's process {process} to end"
            )
        shutil.rmtree(temporary)


def _answers(address, token):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        try:
            connection.request("GET", "/api/jobs/", headers={"Authorization": f"Bearer {token}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


@pytest.fixture
def idle_ray_cluster(ray_cluster):
    """Return the cluster once it is free of the workers of other tests, a failed one's too."""
    wait_until(
        lambda: not workers_of(ray_cluster[1], *OUR_ACTORS), "the end of an earlier job", pause=0.1
    )
    return ray_cluster


OUR_ACTORS = ("Board", "RankWorker", "Worker")


def workers_of(head, *classes):
    """Return the process ids of the actors of some classes on a cluster."""
    names = tuple(f"ray::{name}" for name in classes)
    return [one for one in descendants(head) if command_line(one).startswith(names)]


def finish_job(process, exit_code=0):
    """Wait for a command; return its result, None where it has none, and what it said: nothing of Ray's in either."""
    printed, said = finish(process, exit_code)
    assert len(printed.splitlines()) == (exit_code == 0), printed
    assert "Traceback" not in said
    return json.loads(printed) if printed else None, said
