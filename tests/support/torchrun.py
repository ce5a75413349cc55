"""A training by two ranks: started by torchrun as a user does, or as torchrun starts its ranks, forked."""

from __future__ import annotations

import os
from pathlib import Path

from support.ports import free_port
from support.processes import descendants
from support.started import PROGRAMS, finish, start, wait_until

TORCHRUN = (PROGRAMS / "torchrun", "--standalone", "--nproc-per-node", "2")
AS_MODULE, AS_COMMAND = ("-m", "crossan.train"), ("--no-python", PROGRAMS / "crossan-train")
UNEVEN = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.adapter_lr=0.01",
    "optimiser.lr=0.01",
    "batch_size=37",  # 150 users: the last batch of 2
    "patience=500",
)


def environment():
    """Return this process's environment without what would say to a command what it is not told."""
    ours = {"CROSSAN_DATASET", "CROSSAN_CACHE", "WORLD_SIZE", "RANK"}
    left = {name: value for name, value in os.environ.items() if name not in ours}
    return {**left, "OMP_NUM_THREADS": "1"}


def start_torchrun(words, folder, program=AS_MODULE):
    """Start torchrun with two ranks of a program, in a folder."""
    return start(*TORCHRUN, *program, *words, cwd=folder, env=environment())


HELD_PROGRAM = Path(__file__).with_name("held_training.py")


class Held:
    """A training by torchrun whose ranks wait before a step until they are let go, or told to end."""

    def __init__(self, words, folder, gate, step):
        self._gate = gate
        self.process = start_torchrun(words, folder, (HELD_PROGRAM, gate, step))
        arrived = [gate.with_name(f"{gate.name}.{rank}") for rank in range(2)]
        wait_until(lambda: all(path.exists() for path in arrived), f"step {step}", self.process)

    def let_go(self):
        self._gate.touch()


class Pair:
    """Two ranks, forked, with the variables that torchrun gives them; used as its process is."""

    def __init__(self, commands, words, folder):
        port = free_port()
        meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        self._ranks = [
            commands.start(
                "crossan-train", *words, folder=folder,
                environment=environment() | meeting | {"RANK": str(number), "LOCAL_RANK": str(number)},
            )
            for number in range(2)
        ]  # fmt: skip

    def finish(self, exit_code=0):
        """Wait for the first rank, check its exit code, end the other where it failed; return what both printed and said."""
        first, second = self._ranks
        printed, said = finish(first, exit_code)
        if exit_code:
            second.send_signal(15)
        more_printed, more_said = second.communicate()
        assert exit_code or second.returncode == 0, more_said
        return printed + more_printed, said + more_said


def ranks_of(process):
    """Return the process ids of the ranks of torchrun, in their order."""
    ranks = {}
    for one in descendants(process.pid):
        try:
            words = Path(f"/proc/{one}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ranks |= {int(word[5:]): one for word in words if word.startswith(b"RANK=")}
    return [ranks[number] for number in sorted(ranks)]


def wait_for_epochs(process, run, count):
    """Wait until a run has done some epochs."""
    metrics = run / "metrics.jsonl"
    wait_until(
        lambda: metrics.is_file() and len(metrics.read_text().splitlines()) >= count,
        f"{count} epochs of {run.name}",
        process,
    )
