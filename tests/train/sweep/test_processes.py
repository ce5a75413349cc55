"""Processes side by side: as many as there are slots, told to end once, killed with their parent."""

import signal
import subprocess
import sys

import pytest

from crossan.common.interrupts import ToldToEnd
from crossan.train.sweep import processes
from crossan.train.sweep.devices import Slot
from crossan.train.sweep.processes import TrialCommand, run_commands
from support.processes import is_alive
from support.started import wait_until

# What stands in the place of crossan-train: the first argument after the parent's id is Python.
PROGRAM = "import sys; exec(sys.argv[2])"


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "_PROGRAM", PROGRAM)
    ended = {}

    def start(scripts, slots=1, told=None, on_look=None):
        commands = [
            TrialCommand(name, (script,), tmp_path / "logs" / name)
            for name, script in scripts.items()
        ]
        places = [Slot("cpu", {"PLACE": str(n)}) for n in range(slots)]
        run_commands(
            commands,
            places,
            told or ToldToEnd(),
            lambda o, code, why: ended.update({o.name: (code, why)}),
            on_look,
        )
        return ended

    return start


def test_exit_codes_and_reasons_are_reported(run):
    ended = run(
        {
            "good": "print('fine')",
            "ours": "import sys; print('epoch 1/3: loss 4'); print('DataError: bad\\n  of it'); sys.exit(3)",
            "bug": "raise KeyError('x')",
            "mute": "import sys; sys.exit(9)",
            "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        }
    )
    assert ended == {
        "good": (0, ""),
        "ours": (3, "DataError: bad\n  of it"),
        "bug": (1, "KeyError: 'x'"),
        "mute": (9, "exit code 9, without any output"),
        "killed": (-9, "killed by SIGKILL"),
    }


def test_the_reason_is_of_this_attempt_not_of_an_earlier_one(run):
    run({"one": "raise KeyError('old')"})
    assert run({"one": "import sys; sys.exit(1)"})["one"] == (1, "exit code 1, without any output")


def test_no_more_run_than_there_are_slots_each_in_its_own(run, tmp_path, monkeypatch):
    script = "import os, time; print('in', os.environ['PLACE'], 'CROSSAN_CACHE' in os.environ); time.sleep(0.3)"
    most = []
    monkeypatch.setenv("CROSSAN_CACHE", "/elsewhere")
    ended = run({str(n): script for n in range(5)}, slots=2, on_look=most.append)
    assert set(ended.values()) == {(0, "")}
    assert max(most) <= 2
    logs = [(tmp_path / "logs" / str(n)).read_text().split() for n in range(5)]
    assert {tuple(log) for log in logs} == {("in", "0", "False"), ("in", "1", "False")}


PATIENT = (
    "import signal, sys, time\n"
    "def end(*_):\n    print('told'); time.sleep(0.5); print('kept'); sys.stdout.flush(); sys.exit(143)\n"
    "signal.signal(signal.SIGTERM, end); print('ready', flush=True)\nwhile True: time.sleep(0.01)"
)


def test_told_to_end_each_running_one_hears_it_once_and_nothing_more_starts(run, tmp_path):
    told = ToldToEnd()

    def look(running):
        if all(
            (tmp_path / "logs" / name).is_file() and (tmp_path / "logs" / name).read_text()
            for name in "ab"
        ):
            told.set()

    ended = run(
        {"a": PATIENT, "b": PATIENT, "c": "print('never')"}, slots=2, told=told, on_look=look
    )
    assert {name: code for name, (code, _) in ended.items()} == {"a": 143, "b": 143}
    assert (tmp_path / "logs/a").read_text().split() == ["ready", "told", "kept"]


def test_whatever_ends_the_wait_nobody_is_left_behind(run, tmp_path):
    seen = []

    def look(running):
        text = (tmp_path / "logs/a").read_text()
        if text:
            seen.append(int(text))
            raise SystemExit(143)

    with pytest.raises(SystemExit):
        run({"a": "import os, time; print(os.getpid(), flush=True); time.sleep(60)"}, on_look=look)
    assert not is_alive(seen[0])


def test_a_trial_does_not_outlive_a_sweep_that_is_killed(tmp_path):
    parent = (
        "import subprocess, sys, os, time\n"
        "child = 'import sys, time; from crossan.common.children import end_with_parent; end_with_parent(int(sys.argv[1]));"
        " print(1, flush=True); time.sleep(60)'\n"
        "p = subprocess.Popen([sys.executable, '-c', child, str(os.getpid())], stdout=subprocess.PIPE, process_group=0)\n"
        "p.stdout.readline(); print(p.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_until(lambda: not is_alive(child), "the end of the trial")
