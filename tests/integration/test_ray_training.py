"""``crossan-train --engine ray`` on a real cluster of two workers: the run of torchrun's two ranks, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.fabricated import write_small
from support.outcomes import outcome
from support.processes import command_line, descendants
from support.ray_cluster import wait_until

pytest.importorskip("ray", reason="--engine ray needs Ray: pip install 'crossan[ray]'")
pytestmark = pytest.mark.slow

PROGRAMS = Path(sys.executable).parent
SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.adapter_lr=0.01",
    "optimiser.lr=0.01",
    "batch_size=37",  # 150 users: the last batch of 2
    "patience=500",
    "max_epochs=30",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("ray"))


@pytest.fixture(scope="module")
def command(place, ray_environment):
    """Return a function that starts a training; what a failed test leaves running is ended."""
    started = []

    def start(out, *more, launcher=(PROGRAMS / "crossan-train",)):
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        words = ["--dataset", "d", "--cache", "c", "--json", "--out", out, *settings, *more]
        environment = {
            name: text
            for name, text in ray_environment.items()
            if name not in {"RAY_ADDRESS", "WORLD_SIZE"}
        }
        process = subprocess.Popen(
            [*launcher, *map(str, words)],
            cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def finish(process, exit_code=0):
    out, said = process.communicate(timeout=200)
    assert process.returncode == exit_code, said
    assert len(out.splitlines()) == (exit_code == 0), out  # the result and nothing of Ray's
    assert "Traceback" not in said
    return said


@pytest.fixture(scope="module")
def whole(place, command):
    """What two ranks of torchrun come to, with dropout, uninterrupted."""
    torchrun = (
        PROGRAMS / "torchrun",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "crossan.train",
    )
    finish(command("whole", "--device", "cpu", launcher=torchrun))
    return outcome(place / "whole")


def workers_of(head):
    """Return the process ids of the ranks on the cluster."""
    return [one for one in descendants(head) if command_line(one).startswith("ray::RankWorker")]


def wait_for_epochs(process, run, count):
    metrics = run / "metrics.jsonl"

    def is_so():
        assert process.poll() is None, process.communicate()
        return metrics.is_file() and len(metrics.read_text().splitlines()) >= count

    wait_until(is_so, f"{count} epochs of {run.name}")


def owner_of(run):
    return int((run / ".owner").read_text().split("-")[1])


def test_a_cluster_of_its_own_trains_what_torchrun_does(place, command, whole):
    said = finish(command("own", "--engine", "ray", "--workers", "2"))
    assert "train: 2 ranks of 1 cores and 0 GPUs" in said
    assert said.count("epoch 30/30: ") == 1
    assert "raylet" not in said
    assert outcome(place / "own") == whole
    environment = json.loads((place / "own" / "env.json").read_text())
    assert environment["spec"]["ranks"] == 2
    assert environment["command"][0] == str(PROGRAMS / "crossan-train")


@pytest.mark.parametrize("is_first", [True, False])
def test_a_killed_worker_ends_in_the_same_weights(place, command, ray_cluster, whole, is_first):
    options, head = ray_cluster
    out = place / f"killed{is_first}"
    process = command(out.name, *options, "--set", "checkpoint.every_steps=3")
    wait_for_epochs(process, out, 5)
    ranks, first = workers_of(head), owner_of(out)
    assert len(ranks) == 2
    assert first in ranks
    os.kill(first if is_first else (set(ranks) - {first}).pop(), signal.SIGKILL)
    said = finish(process)
    assert said.count("all ranks start afresh from the last checkpoint (1 of at most 3 times)") == 1
    assert said.count("going on after epoch ") == 1
    assert outcome(out) == whole
    assert not (out / ".owner").exists()


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_keeps_a_checkpoint(place, command, ray_cluster, whole, number, exit_code):
    options, head = ray_cluster
    out = place / f"told{exit_code}"
    process = command(out.name, *options)
    wait_for_epochs(process, out, 5)
    process.send_signal(number)
    said = finish(process, exit_code)
    assert "2 ranks stop after the step in hand" in said
    assert said.count(" written; the same command with --resume goes on from there") == 1
    wait_until(lambda: not workers_of(head), "the ranks to end")
    assert not (out / ".owner").exists()
    finish(command(out.name, *options, "--resume"))
    assert outcome(out) == whole


@pytest.mark.parametrize(
    ("more", "exit_code", "message"),
    [
        (("--set", "optimiser.lr=1e38"), 1, "the weights are no longer finite|the loss became"),
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
    command, ray_cluster, tmp_path, more, exit_code, message
):
    said = finish(command(tmp_path / "r", *ray_cluster[0], *more), exit_code)
    assert any(part in said for part in message.split("|"))
    assert "RayTaskError" not in said
    assert "start afresh" not in said
