"""Workers are killed, run out of memory, fail or hang: another attempt follows where it may help, three at most.

``CROSSAN_FAULTS=full`` does each 40 times, 200 all together, otherwise once.
"""

from __future__ import annotations

import json
import os

import pytest

from support.killed_servers import Server, witnessed

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
TIMES = 40 if IS_FULL else 1

DEATHS = {
    "killed": "os.kill(os.getpid(), 9)",
    "out of memory": "block = bytearray(os.urandom(1)) * 2**28; time.sleep(1000)",
    "exit code": "os._exit(70)",
    "hangs": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)",
    "child hangs": "os.fork() or (os.setsid(), time.sleep(1000)); os.kill(os.getpid(), 9)",
}
OUTCOMES = {
    "killed": ("exited", -9),
    "out of memory": ("too much memory", -9),
    "exit code": ("exited", 70),
    "hangs": ("silent", -9),
    "child hangs": ("exited", -9),
}
LIMITS = {"memory_gib": 0.125}
"""128 MiB."""
SILENT = {**LIMITS, "silent_minutes": 0.05}
"""The same, and 3 seconds, within which the others might not even begin on a busy machine."""


def limits_of(kind):
    return SILENT if kind == "hangs" else LIMITS


def dying(death, attempts):
    """Return a program whose first attempts die, having written down when."""
    return witnessed(
        f"if int(attempt) <= {attempts}:\n"
        "    open(f'../death-{attempt}', 'w').write(str(time.time()))\n"
        f"    {death}\n"
        "open('../again', 'w').write(str(time.time()))\n"
    )


@pytest.mark.timeout(7200)
def test_a_worker_that_dies_is_tried_again_soon(tmp_path, monkeypatch):
    monkeypatch.setattr("crossan.train.service.executors.local._GRACE_SECONDS", 1.0)
    server = Server(tmp_path, cpus=4).start()
    kinds = [kind for _ in range(TIMES) for kind in DEATHS]
    runs = {
        server.ask(program=dying(DEATHS[kind], 1), limits=limits_of(kind)): kind for kind in kinds
    }
    server.wait_until_idle(seconds=3600)
    server.stop()
    rows = server.check(runs)
    assert {row["state"] for row in rows.values()} == {"succeeded"}
    assert {row["attempt"] for row in rows.values()} == {2}
    delays = {kind: [] for kind in DEATHS}
    for run_id, kind in runs.items():
        outcome = json.loads((server.folder.attempt(run_id, 1) / "outcome.json").read_text())
        assert (outcome["reason"], outcome["exit_code"]) == OUTCOMES[kind]
        died, again = ((server.folder.run(run_id) / name).read_text() for name in ("death-1", "again"))  # fmt: skip
        delays[kind].append(float(again) - float(died))
    for kind, seconds in delays.items():
        print(f"{kind}: {len(seconds)} times, again after {max(seconds):.1f} s at most")
    if IS_FULL:  # a busy machine is slow, not wrong
        assert max(delays["killed"] + delays["exit code"]) < 5.0
        # A hang counts from its last sign of life: three seconds of silence and one of grace.
        assert max(delays["hangs"]) < 5.0 + 3.0 + 1.0


@pytest.mark.timeout(7200)
def test_a_worker_that_always_dies_has_three_attempts(tmp_path, monkeypatch):
    monkeypatch.setattr("crossan.train.service.executors.local._GRACE_SECONDS", 0.5)
    server = Server(tmp_path, cpus=4).start()
    kinds = [*DEATHS] * 5 if IS_FULL else ["killed", "exit code"]
    runs = {
        server.ask(program=dying(DEATHS[kind], 9), limits=limits_of(kind)): kind for kind in kinds
    }
    server.wait_until_idle(seconds=3600)
    server.stop()
    rows = server.check(runs)
    assert {(row["state"], row["attempt"]) for row in rows.values()} == {("failed", 3)}
    assert {len(attempts) for attempts in server.ledger()["begin"].values()} == {3}
    reasons = {runs[run_id]: row["reason"] for run_id, row in rows.items()}
    assert reasons["killed"] == "attempt 3 was killed by SIGKILL"
    assert reasons["exit code"] == "attempt 3 ended with exit code 70"
    if IS_FULL:
        assert "more than limits.memory_gib=0.125" in reasons["out of memory"]
        assert reasons["hangs"] == "attempt 3 gave no sign of life for limits.silent_minutes=0.05"


@pytest.mark.timeout(7200)
def test_a_wrong_setting_has_one_attempt(tmp_path):
    server = Server(tmp_path).start()
    program = witnessed("print('ConfigError: no such model'); sys.exit(2)\n")
    runs = [server.ask(program=program) for _ in range(TIMES)]
    server.wait_until_idle(seconds=600)
    server.stop()
    rows = server.check(runs)
    assert {
        (row["state"], row["attempt"], row["exit_code"], row["reason"]) for row in rows.values()
    } == {("failed", 1, 2, "ConfigError: no such model")}
