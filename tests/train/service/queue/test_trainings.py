"""Real trainings in the queue."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from crossan.train.service.executors.marked import marked
from crossan.train.service.queue import State
from support import outcomes
from support.commands import training
from support.fabricated import write_small
from support.queued import Queue
from support.started import CEILING_S, PROGRAMS, wait_until

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.adapter_lr=0.01",
    "optimiser.lr=0.01",
    "batch_size=16",
    "max_epochs=8",
    "checkpoint.every_steps=7",
)
HELD_AT = 16
"""In the middle of the second epoch of ten steps, behind the checkpoint of step 14."""
HELD = f"""
import os, sys, time
from functools import partial
from crossan.train.cli import main
from crossan.train.runs import training
steps = []
def hold():
    steps.append(None)
    if len(steps) == {HELD_AT} and not os.path.exists("../held"):
        open("../held", "w").close()
        time.sleep(1000)
training.fit = partial(training.fit, on_step=hold)
sys.exit(main())
"""
"""Is ``crossan-train``, whose first attempt stops before a step until it is killed."""


@pytest.mark.slow
def test_a_training_whose_worker_is_killed_goes_on_from_its_checkpoint(tmp_path):
    place = write_small(tmp_path / "training")
    queue = Queue(tmp_path / "service", cpus=1).start()
    runs = []
    for program in ([PROGRAMS / "crossan-train"], [sys.executable, "-c", HELD]):
        arguments = training(place, SETTINGS, "--resume", out=queue.folder.output(len(runs) + 1))
        argv = [str(word) for word in (*program, *arguments)]
        runs.append(queue.submit(argv=argv, limits={"memory_gib": 8.0}))
    whole = queue.wait(runs[0])
    assert (whole.state, whole.attempt) == (State.SUCCEEDED, 1), whole.reason
    wait_until((queue.folder.run(runs[1]) / "held").exists, "the middle of an epoch")
    assert (queue.folder.output(runs[1]) / "checkpoints" / "last" / "state.json").exists()
    marker = f"{queue.folder.identity_file.read_text()}/{runs[1]}/1"
    (worker,) = [one for one in marked(marker) if "shim.py" not in " ".join(one.cmdline())]
    os.kill(worker.pid, signal.SIGKILL)
    resumed = queue.wait(runs[1])
    assert (resumed.state, resumed.attempt) == (State.SUCCEEDED, 2), resumed.reason
    outcome = [outcomes.outcome(queue.folder.output(run)) for run in runs]
    assert outcome[0] == outcome[1]
    queue.close()


@pytest.mark.slow
def test_a_cancelled_training_leaves_a_checkpoint(tmp_path, monkeypatch):
    # However slow the machine is, the step in hand ends before anything is killed.
    for name in ("_GRACE_SECONDS", "_PATIENCE_SECONDS"):
        monkeypatch.setattr(f"crossan.train.service.executors.local.{name}", CEILING_S)
    place = write_small(tmp_path / "training")
    queue = Queue(tmp_path / "service", cpus=1).start()
    arguments = training(place, (*SETTINGS, "max_epochs=100000", "patience=100000"), out=queue.folder.output(1))  # fmt: skip
    argv = [str(word) for word in (PROGRAMS / "crossan-train", *arguments)]
    run_id = queue.submit(argv=argv, limits={"memory_gib": 8.0})
    checkpoint = queue.folder.output(run_id) / "checkpoints" / "last" / "state.json"
    wait_until(checkpoint.exists, "a checkpoint")
    queue.scheduler.cancel(run_id, "ann")
    run = queue.wait(run_id)
    assert (run.state, run.exit_code) == (State.CANCELLED, 143)
    log = (queue.attempt(run_id) / "output.log").read_text()
    assert "SIGTERM: finishing the step in hand" in log
    queue.close()
