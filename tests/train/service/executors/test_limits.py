"""Memory, time, silence and output of an attempt have bounds."""

from __future__ import annotations

import platform
import signal

import pytest

from support.attempted import Case
from support.started import CEILING_S


def test_too_much_memory_of_all_processes_together_ends_them(case):
    # Two processes with 60 MiB each, of which neither has 100.
    program = (
        "import os, time; child = os.fork(); block = bytearray(os.urandom(1)) * (60 * 2**20);"
        " time.sleep(1000)"
    )
    outcome = case.start(program, memory_mib=100).end()
    assert outcome.reason == "too much memory"
    assert 100 < outcome.peak_memory_bytes / 2**20 < 160


def test_memory_that_processes_share_counts_once(case):
    # 60 MiB that five processes share, and do not write to, until the shim has looked: to look it
    # is woken twice, and waits again.
    program = (
        "import os, time; block = bytearray(b'x') * (60 * 2**20); shim = os.getppid()\n"
        "def waits():\n"
        "    lines = open(f'/proc/{shim}/status').read().splitlines()\n"
        "    return int(next(line for line in lines if line.startswith('voluntary')).split()[1])\n"
        "def rest():\n"
        "    while waits() < enough: time.sleep(0.1)\n"
        "enough = waits() + 8\n"
        "[os.fork() or (rest(), os._exit(0)) for _ in range(4)]; rest()"
    )
    outcome = case.start(program, memory_mib=100).end()
    assert outcome.reason == "exited"
    assert 60 < outcome.peak_memory_bytes / 2**20 < 100


def test_an_attempt_may_be_told_to_end_by_its_time(case):
    # Blocked until the program listens: it may need longer than its time to begin.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    program = (
        "import signal, sys, time;"
        " signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143)));"
        " print('ready', flush=True);"
        " signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}); time.sleep(1000)"
    )
    try:
        case.start(program, seconds=1.0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    outcome = case.end()
    assert (outcome.reason, outcome.exit_code) == ("too long", 143)
    assert case.output == "ready\nsaved\n"
    assert 1.0 < outcome.seconds < CEILING_S


def test_silence_ends_an_attempt(case):
    assert case.start("import time; time.sleep(1000)", silent_seconds=1.0).end().reason == "silent"


def test_a_line_or_a_heartbeat_breaks_the_silence(case, tmp_path):
    # Both at once, so that the silence may be long: a slow machine makes pauses of its own.
    heartbeat = "open(os.environ['CROSSAN_HEARTBEAT'], 'w').write(str(n))"
    cases = [case, Case(tmp_path / "other")]
    for one, sign in zip(cases, ["print('.', flush=True)", heartbeat], strict=True):
        one.start(
            f"import os, time\nfor n in range(26):\n    {sign}\n    time.sleep(0.25)",
            silent_seconds=5.0,
        )
    outcomes = [one.end() for one in cases]
    assert [outcome.reason for outcome in outcomes] == ["exited"] * 2
    assert min(outcome.seconds for outcome in outcomes) > 6.0


def test_output_past_its_bound_is_dropped_and_said(case):
    program = (
        "import os\nblock = b'x' * 2**20\nfor _ in range(70): os.write(1, block)\n"
        "os.write(2, b'\\nValueError: the last word\\n'); os._exit(1)"
    )
    outcome = case.start(program).end()
    assert outcome.message == "ValueError: the last word"
    assert 64 * 2**20 < len(case.output) < 65 * 2**20
    dropped = 6 * 2**20 + len("\nValueError: the last word\n")
    assert f"[crossan: {dropped} bytes of output were not kept" in case.output
    assert case.output.endswith("ValueError: the last word\n")


def test_a_process_whose_first_thread_has_ended_is_seen_and_killed(case):
    program = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=lambda: (print('up', flush=True), time.sleep(1000))).start()\n"
        "ctypes.CDLL(None).syscall(60, 0)"  # exit of the first thread alone, on x86-64
    )
    if platform.machine() != "x86_64":
        pytest.skip("the number of the system call is that of x86-64")
    case.start(program)
    case.wait_for("up")
    case.executor.stop(case.attempt, case.handle)
    assert case.end().reason == "cancelled"
