"""A server that is used for long: a short run each second, a worker killed now and then.

``CROSSAN_FAULTS=full`` takes half an hour, ``CROSSAN_SOAK_MINUTES`` another time.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path

import psutil
import pytest

from support.processes import command_line
from support.service import SPEC, ServerProcess
from support.started import CEILING_S, wait_until

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
SECONDS = 60 * float(os.environ.get("CROSSAN_SOAK_MINUTES", "30")) if IS_FULL else 8
PAUSE, RUN_SECONDS, KILL_EVERY = (1.0, 2, 60) if IS_FULL else (0.4, 0.5, 3)
MIB = 1 << 20


def worker_of(server):
    """Return the process of one run that goes on, None where there is none."""
    for child in psutil.process_iter():
        if command_line(child.pid).startswith(f"sleep {RUN_SECONDS}"):
            folder = str(server.data)
            try:
                if folder in child.environ().get("CROSSAN_HEARTBEAT", ""):
                    return child.pid
            except psutil.Error:
                continue
    return None


@pytest.mark.timeout(3 * SECONDS + 600)
def test_memory_and_descriptors_stay_flat_and_nothing_is_lost(tmp_path, record_property):
    server = ServerProcess(tmp_path, backup_minutes=0.5, slots={"cpus": 4})
    process = psutil.Process(server.pid)
    submitted, kills, samples = [], 0, []
    began = time.monotonic()
    with server.client("submit") as client, client.stream("GET", "/v1/events") as events:
        assert events.status_code == 200
        due, kill_due = began, began + KILL_EVERY / 2
        while time.monotonic() - began < SECONDS:
            due += PAUSE
            body = {**SPEC, "label": f"sleep {RUN_SECONDS}"}
            answer = client.post("/v1/runs", json=body)
            assert answer.status_code == 201, answer.text
            submitted.append(answer.json()["id"])
            client.get("/v1/runs?limit=50").raise_for_status()
            client.get("/metrics").raise_for_status()
            if time.monotonic() >= kill_due and (worker := worker_of(server)) is not None:
                os.kill(worker, signal.SIGKILL)
                kills, kill_due = kills + 1, kill_due + KILL_EVERY
            samples.append((process.memory_info().rss, process.num_fds(), process.num_threads()))
            time.sleep(max(0.0, due - time.monotonic()))

    def ended():
        with server.client("read") as client:
            runs = client.get("/v1/runs?state=queued").json()["runs"]
            return not (runs or client.get("/v1/runs?state=running").json()["runs"])

    wait_until(ended, "all runs have ended", pause=0.2, seconds=max(CEILING_S, SECONDS))
    runs, page = {}, {"before": submitted[-1] + 1}
    with server.client("read") as client:
        while page["before"] is not None:
            page = client.get("/v1/runs", params={"limit": 500, "before": page["before"]}).json()
            runs |= {run["id"]: run for run in page["runs"]}
    tenth = max(1, len(samples) // 10)
    early = [statistics.median(column) for column in zip(*samples[tenth : 3 * tenth], strict=True)]
    late = [statistics.median(column) for column in zip(*samples[-2 * tenth :], strict=True)]
    record_property("runs", len(runs))
    record_property("kills", kills)
    print(
        f"{len(runs)} runs, {kills} kills: memory {early[0] / MIB:.1f} -> {late[0] / MIB:.1f} MiB,"
        f" descriptors {early[1]:g} -> {late[1]:g}, threads {early[2]:g} -> {late[2]:g}"
    )
    assert sorted(runs) == submitted
    assert {run["state"] for run in runs.values()} == {"succeeded"}
    assert kills >= 1
    # A kill may meet a program in the moment in which it ends by itself.
    assert kills - 1 <= sum(run["attempt"] - 1 for run in runs.values()) <= kills
    assert late[0] - early[0] < 10 * MIB
    assert late[1] - early[1] <= 8
    assert server.stop() == 0
    left = list(Path(server.data / "sockets").glob("*"))
    assert left == []
