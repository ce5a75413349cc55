"""Finding and killing the processes of an attempt by their marker."""

from __future__ import annotations

import subprocess
import sys

import psutil

from crossan.train.service.executors import marked as room
from crossan.train.service.executors.marked import MARKER, kill_marked, marked
from support.started import CEILING_S, ended_with_test, wait_until

SLEEPS = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)")


def sleeper(marker):
    """Start a process of a marker."""
    return ended_with_test(subprocess.Popen(SLEEPS, env={MARKER: marker}))


def test_processes_of_one_marker_are_seen_and_killed_and_no_others(tmp_path):
    marker = f"{tmp_path}/1/1"
    ours, others = [sleeper(marker) for _ in range(3)], [sleeper(f"{tmp_path}/1/11"), sleeper("x")]
    wait_until(lambda: len(marked(marker)) == 3, "all three")
    assert {one.pid for one in marked(marker)} == {one.pid for one in ours}
    assert kill_marked(marker)
    assert marked(marker) == []
    assert [one.wait(CEILING_S) for one in ours] == [-9] * 3
    assert [one.poll() for one in others] == [None, None]


def test_nobody_to_kill_is_done_at_once(tmp_path):
    assert kill_marked(f"{tmp_path}/1/1")


class Changing:
    """A process that shows no environment, as in the moment of a change of programs, at its first looks."""

    def __init__(self, pid, marker, looks):
        self.pid, self.marker, self.looks = pid, marker, looks
        self.is_killed = False

    def environ(self):
        if self.is_killed:
            raise psutil.NoSuchProcess(self.pid)
        self.looks -= 1
        return {} if self.looks >= 0 else {MARKER: self.marker}

    def cmdline(self):
        return []

    def kill(self):
        self.is_killed = True


def test_a_process_that_changes_its_program_is_not_missed(monkeypatch):
    young = sleeper("another")
    process = Changing(young.pid, "m/1/1", looks=5)
    monkeypatch.setattr(room.psutil, "process_iter", lambda: [process])
    assert kill_marked("m/1/1")
    assert process.is_killed


def test_a_process_that_never_shows_anything_holds_nobody_up_once_it_is_old(monkeypatch):
    young = sleeper("another")
    process = Changing(young.pid, "m/1/1", looks=10**9)
    monkeypatch.setattr(room.psutil, "process_iter", lambda: [process])
    monkeypatch.setattr(room, "_KILLING_SECONDS", 0.1)
    assert not kill_marked("m/1/1")
    monkeypatch.setattr(room, "_YOUNG_SECONDS", 0.0)
    assert kill_marked("m/1/1")


def test_processes_that_end_while_they_are_looked_at_are_passed_over(monkeypatch):
    class Ended(Changing):
        def environ(self):
            raise self.looks

    errors = [psutil.NoSuchProcess(1), psutil.AccessDenied(1), psutil.ZombieProcess(1), ProcessLookupError()]  # fmt: skip
    processes = [Ended(1, "m", error) for error in errors]
    monkeypatch.setattr(room.psutil, "process_iter", lambda: processes)
    assert marked("m") == []
    assert kill_marked("m")
