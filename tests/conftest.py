"""What every test may ask for: the real data folder, where there is one, and commands that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["support.servers", "support.ray_cluster"]

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as a shell's background job begins; ours and our commands' tests need it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder `CROSSAN_TEST_DATA` names; skip loudly where it is not set."""
    named = os.environ.get("CROSSAN_TEST_DATA")
    if not named:
        pytest.skip("CROSSAN_TEST_DATA is not set: this test needs the real data folder")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"CROSSAN_TEST_DATA={named}: no such folder")
    return folder


# Reads one JSON order per line and forks; the child is the command. Answers with the child's process id, then
# with its exit code. "after" n > 0 makes the child kill itself in place of its n-th fsync, rename, replace or link.
ZYGOTE = r"""
import json, os, signal, sys
import torch, transformers, av, PIL.Image, pyarrow, zarr
import crossan.extract.cli, crossan.extract.backbones, crossan.extract.job.run, crossan.common.umbrella
import crossan.common.stores.cli, crossan.common.stores.sharing.transfer, crossan.common.stores.growing.compact
import crossan.train.cli, crossan.train.runs.training
MAIN = {
    "crossan-extract": crossan.extract.cli.main,
    "crossan-train": crossan.train.cli.main,
    "crossan": crossan.common.umbrella.main,
}
torch.set_num_threads(1)

def die_at(countdown):
    left = [countdown]
    def counting(call):
        def counted(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)
        return counted
    for name in ("fsync", "rename", "replace", "link"):
        setattr(os, name, counting(getattr(os, name)))

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
        os.dup2(os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 1)
        os.dup2(1, 2)
        if order["after"]:
            die_at(order["after"])
        sys.argv = [order["program"], *order["arguments"]]
        os.environ.update(order["environment"])
        try:
            MAIN[order["program"]]()
        except SystemExit as ended:
            sys.stdout.flush()
            os._exit(ended.code or 0)
    print(child, flush=True)
    sys.stdin.readline()  # until then the child's process id is its own, dead or alive
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Commands:
    """Runs our commands in processes forked from one that has imported everything, one at a time."""

    def __init__(self, zygote, log):
        self._zygote, self._log = zygote, log

    def begin(self, program, *arguments, after=0, environment=None):
        """Start a command; return its process id. With ``after`` it dies in place of its n-th call that syncs or renames."""
        order = {
            "program": program,
            "arguments": [str(argument) for argument in arguments],
            "log": str(self._log),
            "after": after,
            "environment": environment or {},
        }
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        return int(self._zygote.stdout.readline())

    def end(self):
        """Wait for the command; return its exit code, negative for a signal."""
        self._zygote.stdin.write("\n")
        self._zygote.stdin.flush()
        return int(self._zygote.stdout.readline())

    def output(self):
        """Return what all commands since the last `finish` have printed."""
        return self._log.read_text()

    def finish(self, program, *arguments, environment=None):
        """Run a command to its end and return the JSON object it prints last."""
        self._log.write_text("")
        self.begin(program, *arguments, environment=environment)
        assert self.end() == 0, self.output()
        return json.loads(self.output().splitlines()[-1])


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Return a runner of ``crossan-extract``, ``crossan-train`` and ``crossan`` whose processes start at once and can be killed anywhere."""
    folder = tmp_path_factory.mktemp("commands")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "xdg")}
    zygote = subprocess.Popen(
        [sys.executable, "-c", ZYGOTE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    yield Commands(zygote, folder / "log")
    zygote.stdin.close()
    assert zygote.wait(timeout=30) == 0
    zygote.stdout.close()
