"""A Ray cluster on the loopback interface, made by ``ray start``; every process is ended by its id."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from support.processes import descendants, is_alive

PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def ray_environment(tmp_path_factory):
    """Keep Ray on the loopback interface and out of the home folder."""
    return {
        **os.environ,
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
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    temporary = tempfile.mkdtemp(
        prefix="ray", dir="/tmp"
    )  # short: a socket's path may have 107 bytes
    options = [
        "--head",
        "--block",
        "--include-dashboard=false",
        "--num-cpus=2",
        "--object-store-memory=80000000",
    ]
    head = subprocess.Popen(
        [PROGRAMS / "ray", "start", *options, f"--port={port}", "--node-ip-address=127.0.0.1", f"--temp-dir={temporary}"],
        env=ray_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(Path(temporary).glob("session_*/sockets/raylet*")):
        assert head.poll() is None, "ray start has ended"
        assert time.monotonic() < deadline, "ray start was not ready within a minute"
        time.sleep(0.1)
    yield ["--engine", "ray", "--address", f"127.0.0.1:{port}", "--workers", "2"], head.pid
    left = descendants(head.pid)
    head.terminate()
    head.wait(timeout=60)
    for process in left:
        wait_until(lambda process=process: not is_alive(process), f"Ray's process {process} to end")
    shutil.rmtree(temporary)


def wait_until(is_so, what, seconds=60):
    """Wait for something to be so, and fail where it is not in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)
