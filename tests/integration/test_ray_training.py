"""``crossan-train --engine ray`` on a real cluster of two workers: the run of torchrun's two ranks, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from support.commands import training
from support.outcomes import outcome
from support.ray_cluster import finish_job, workers_of
from support.started import PROGRAMS, start, wait_until
from support.torchrun import AS_MODULE, TORCHRUN, UNEVEN, wait_for_epochs

pytest.importorskip("ray", reason="--engine ray needs Ray: pip install 'crossan[ray]'")
pytestmark = pytest.mark.slow

SETTINGS = (*UNEVEN, "max_epochs=20")
SLOWLY = ("--set", "checkpoint.every_steps=1")
"""So that there is time to meet a training on the way."""


@pytest.fixture(scope="module")
def command(commands, place, ray_environment):
    """Return a function that starts a training, forked where no launcher is named."""

    def begin(out, *more, launcher=None):
        words = [*training(Path(), SETTINGS, out=out, device=None), *more]
        if launcher is None:
            return commands.start(
                "crossan-train", *words, environment=ray_environment, folder=place
            )
        return start(*launcher, *words, cwd=place, env=ray_environment)

    return begin


@pytest.fixture(scope="module")
def whole(place, command):
    """What two ranks of torchrun come to, with dropout, uninterrupted."""
    finish_job(command("whole", "--device", "cpu", launcher=(*TORCHRUN, *AS_MODULE)))
    return outcome(place / "whole")


def ranks_of(head):
    """Return the process ids of the ranks on the cluster."""
    return workers_of(head, "RankWorker")


def owner_of(run):
    return int((run / ".owner").read_text().split("-")[1])


def test_a_cluster_of_its_own_trains_what_torchrun_does(place, command, whole):
    own = ("--engine", "ray", "--workers", "2")
    _, said = finish_job(command("own", *own, launcher=(PROGRAMS / "crossan-train",)))
    assert "train: 2 ranks of 1 cores and 0 GPUs" in said
    assert said.count("epoch 20/20: ") == 1
    assert "raylet" not in said
    assert outcome(place / "own") == whole
    environment = json.loads((place / "own" / "env.json").read_text())
    assert environment["spec"]["ranks"] == 2
    assert environment["command"][0] == str(PROGRAMS / "crossan-train")


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.exhaustive
def test_a_killed_worker_ends_in_the_same_weights(
    place, command, idle_ray_cluster, whole, is_first
):
    options, head = idle_ray_cluster
    out = place / f"killed{is_first}"
    process = command(out.name, *options, *SLOWLY)
    wait_for_epochs(process, out, 5)
    ranks, first = ranks_of(head), owner_of(out)
    assert len(ranks) == 2
    assert first in ranks
    os.kill(first if is_first else (set(ranks) - {first}).pop(), signal.SIGKILL)
    _, said = finish_job(process)
    assert said.count("all ranks start afresh from the last checkpoint (1 of at most 3 times)") == 1
    assert said.count("going on after epoch ") == 1
    assert outcome(out) == whole
    assert not (out / ".owner").exists()


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.exhaustive
def test_an_interruption_keeps_a_checkpoint(
    place, command, idle_ray_cluster, whole, number, exit_code
):
    options, head = idle_ray_cluster
    out = place / f"told{exit_code}"
    process = command(out.name, *options, *SLOWLY)
    wait_for_epochs(process, out, 5)
    process.send_signal(number)
    _, said = finish_job(process, exit_code)
    assert "2 ranks stop after the step in hand" in said
    assert said.count(" written; the same command with --resume goes on from there") == 1
    wait_until(lambda: not ranks_of(head), "the ranks have ended")
    assert not (out / ".owner").exists()
    finish_job(command(out.name, *options, "--resume"))
    assert outcome(out) == whole


@pytest.mark.parametrize(
    ("more", "exit_code", "message"),
    [
        pytest.param(
            *(
                ("--set", "optimiser.lr=1e38"),
                1,
                "the weights are no longer finite|the loss became",
            ),
            marks=pytest.mark.exhaustive,
        ),
        (("--cache", "/nowhere"), 2, "/nowhere"),
        (
            ("--workers", "64"),
            6,
            "--workers 64: expected room for all ranks at once, found it for 2",
        ),
        (
            ("--gpus-per-worker", "0.5"),
            2,
            "--gpus-per-worker 0.5: a rank computes on one whole accelerator",
        ),
        (
            ("--device", "cuda"),
            2,
            "--device cuda --engine ray: expected auto or cpu with 0 accelerators a rank",
        ),
    ],
)
def test_an_error_in_a_rank_is_the_same_error_here(
    command, idle_ray_cluster, tmp_path, more, exit_code, message
):
    _, said = finish_job(command(tmp_path / "r", *idle_ray_cluster[0], *more), exit_code)
    assert any(part in said for part in message.split("|"))
    assert "RayTaskError" not in said
    assert "start afresh" not in said
