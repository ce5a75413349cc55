"""Memory, time, silence and output of an attempt have bounds."""

from __future__ import annotations

import platform

import pytest


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
    # 60 MiB that five processes share, and do not write to.
    program = (
        "import os, time; block = bytearray(b'x') * (60 * 2**20);"
        " [os.fork() or (time.sleep(2), os._exit(0)) for _ in range(4)]; time.sleep(2)"
    )
    outcome = case.start(program, memory_mib=100).end()
    assert outcome.reason == "exited"
    assert 60 < outcome.peak_memory_bytes / 2**20 < 100


def test_an_attempt_may_be_told_to_end_by_its_time(case):
    program = (
        "import signal, sys, time;"
        " signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143)));"
        " print('ready', flush=True); time.sleep(1000)"
    )
    outcome = case.start(program, seconds=1.0).end()
    assert (outcome.reason, outcome.exit_code) == ("too long", 143)
    assert case.output == "ready\nsaved\n"
    assert 1.0 < outcome.seconds < 8.0


@pytest.mark.parametrize(
    ("sign", "reason"),
    [
        ("pass", "silent"),
        ("print('.', flush=True)", "exited"),
        ("open(os.environ['CROSSAN_HEARTBEAT'], 'w').write(str(n))", "exited"),
    ],
)
def test_silence_ends_an_attempt_and_a_line_or_a_heartbeat_breaks_it(case, sign, reason):
    program = f"import os, time\nfor n in range(10):\n    {sign}\n    time.sleep(0.3)"
    assert case.start(program, silent_seconds=2.0).end().reason == reason


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
