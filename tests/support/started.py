"""Processes that tests start: waited for with ceilings that a loaded machine keeps, and ended with the test that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.processes import descendants

PROGRAMS = Path(sys.executable).parent
CEILING_S = 600
"""For one wait, below pytest's own limit of a test: fifty times what an idle machine takes."""

_started = []


def start(*command, **options):
    """Start a process with its output in pipes, as text; the end of the test ends it and all that descends from it."""
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return ended_with_test(subprocess.Popen([str(word) for word in command], **(piped | options)))


def ended_with_test(process):
    """Have a process, a `subprocess.Popen` or like one, ended with the test that started it."""
    _started.append(process)
    return process


def kept(process):
    """Have a process go on beyond the test that started it; whoever asks for that ends it."""
    _started.remove(process)
    return process


def finish(process, exit_code=0, seconds=CEILING_S):
    """Wait for a process; return what it printed and what it said, having checked its exit code."""
    printed, said = process.communicate(timeout=seconds)
    assert process.returncode == exit_code, said
    return printed, said


def wait_until(is_so, what, process=None, pause=0.01, seconds=CEILING_S):
    """Wait until something is so; fail where it is not in time, or a process that should bring it about has ended."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if process is not None and process.poll() is not None and not is_so():
            pytest.fail(f"ended with {process.returncode} before {what}: {process.communicate()}")
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(pause)


def end_all():
    """End what tests have left running, with all that descends from it."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            for one in [*descendants(process.pid), process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
            process.communicate()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown():
    """End what the test has left running, before the fixtures that it needs are taken away."""
    end_all()
