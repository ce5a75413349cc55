"""A server, shims or both are killed at any moment: no run is lost, none ends twice, no two attempts live at once.

``CROSSAN_FAULTS=full`` kills the server 200 times over 1,000 runs, and as often shims and both;
otherwise a few times each.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from support.killed_servers import Server, witnessed
from support.started import CEILING_S, wait_until

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
KILLS = 200 if IS_FULL else 2
RUNS_BETWEEN = 5
SHORT = witnessed("time.sleep(0.02 * (int(run) % 20))")


def run_killed(path, kills, kill, seed):
    """Submit runs to a server, and kill it and what else again and again; return the server and the runs."""
    chance = random.Random(seed)
    server = Server(path)
    acknowledged = []
    for _ in range(kills):
        server.start()
        kill_at = time.monotonic() + chance.uniform(0.0, 1.2)
        acknowledged += [server.ask(program=SHORT) for _ in range(RUNS_BETWEEN)]
        time.sleep(max(0.0, kill_at - time.monotonic()))
        kill(server, chance)
    server.start()
    server.wait_until_idle(seconds=1800)
    server.stop()
    return server, acknowledged


def repeated(server):
    """Return how many programs began again."""
    return sum(len(attempts) - 1 for attempts in server.ledger()["begin"].values())


@pytest.mark.timeout(7200)
def test_a_killed_server_loses_no_run_and_repeats_none(tmp_path):
    server, acknowledged = run_killed(tmp_path, KILLS, lambda server, _: server.kill(), seed=1)
    runs = server.check(acknowledged)
    assert len(runs) == KILLS * RUNS_BETWEEN
    # Programs go on while there is no server: each run begins once and succeeds.
    assert {row["state"] for row in runs.values()} == {"succeeded"}
    assert {len(attempts) for attempts in server.ledger()["begin"].values()} == {1}


@pytest.mark.timeout(7200)
def test_a_killed_shim_costs_an_attempt_and_no_more(tmp_path):
    killed = []

    def kill(server, chance):
        killed.append(server.kill_one_shim(chance))
        if not killed[-1]:  # none has begun, or all have ended: one more, which waits for its kill
            run = server.ask(program=witnessed("while attempt == '1': time.sleep(0.05)"))
            shim = server.folder.attempt(run, 1) / "shim.json"
            wait_until(shim.exists, "its shim")
            os.kill(json.loads(shim.read_text())["pid"], signal.SIGKILL)
            killed[-1] = True
        server.stop()

    server, acknowledged = run_killed(tmp_path, KILLS, kill, seed=2)
    runs = server.check(acknowledged)
    assert {row["state"] for row in runs.values()} <= {"succeeded", "failed"}
    assert repeated(server) <= sum(killed)
    assert not IS_FULL or repeated(server) > KILLS // 4


@pytest.mark.timeout(7200)
def test_a_killed_server_with_its_shims_costs_attempts_and_no_more(tmp_path):
    killed = []

    def kill(server, chance):
        killed.append(server.kill_one_shim(chance))
        server.kill()
        killed.append(server.kill_one_shim(chance))

    server, acknowledged = run_killed(tmp_path, KILLS, kill, seed=3)
    runs = server.check(acknowledged)
    assert {row["state"] for row in runs.values()} <= {"succeeded", "failed"}
    assert repeated(server) <= sum(killed)


@pytest.mark.timeout(7200)
def test_an_answer_that_never_came_leaves_a_whole_run_or_none(tmp_path):
    chance = random.Random(4)
    server, acknowledged = Server(tmp_path), []
    for _ in range(KILLS // 2):
        server.start()
        acknowledged += [server.ask(program=SHORT) for _ in range(chance.randrange(4))]
        server.send(*[{"program": "pass"}] * 3)
        time.sleep(chance.uniform(0.0, 0.02))
        server.kill()
    server.start()
    server.wait_until_idle(seconds=1800)
    server.stop()
    assert set(acknowledged) <= {row["id"] for row in server.rows("SELECT id FROM runs")}
    assert set(server.states()) == {"succeeded"}


@pytest.mark.timeout(7200)
def test_a_cancelled_run_is_gone_within_fifteen_seconds_whatever_it_does(tmp_path, monkeypatch):
    if not IS_FULL:
        monkeypatch.setattr("crossan.train.service.executors.local._GRACE_SECONDS", 1.0)
    stubborn = witnessed(
        "import signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
        "open(f'../up-{os.getpid()}', 'w').close()\n"
        "time.sleep(1000)\n"
    )
    server = Server(tmp_path, cpus=40).start()
    runs = [server.ask(program=stubborn) for _ in range(20 if IS_FULL else 2)]
    folder = server.folder
    wait_until(
        lambda: all(len(list(folder.run(run).glob("up-*"))) == 2 for run in runs), "all processes"
    )
    begun = time.monotonic()
    for run in runs:
        assert server.ask(cancel=run) == "stopping"
    server.wait_until_idle(seconds=CEILING_S)
    if IS_FULL:  # a busy machine is slow, not wrong
        assert time.monotonic() - begun < 15.0
    assert server.states() == {"cancelled": len(runs)}
    for run in runs:
        for path in folder.run(run).glob("up-*"):
            assert not Path(f"/proc/{path.name.removeprefix('up-')}").exists()
    server.stop()
