"""Kill a training three times at any moment: it ends in the weights, metrics and best epoch of one that was left alone.

``CROSSAN_FAULTS=full`` does so to 100 runs, ``make test-all`` to 3, an ordinary session to one. A test whose kills
mostly came too early or too late to stop anything fails.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest

from support import outcomes
from support.commands import training
from support.counts import IS_FULL, RUNS_ALL
from support.fabricated import write_small
from support.processes import is_alive

RUNS = 100 if IS_FULL else 3 if RUNS_ALL else 1
KILLS = 3
SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.adapter_lr=0.01",
    "optimiser.lr=0.01",
    "batch_size=16",
    "max_epochs=8",
    "checkpoint.every_steps=7",
)


def arguments(place, out):
    return training(place, SETTINGS, "--resume", out=out)


def outcome(run):
    """Return what the kills must not change: what a run comes to, and the state of its random numbers, byte for byte."""
    random_state = run / "checkpoints" / "last" / "random.safetensors"
    return {**outcomes.outcome(run), "random": random_state.read_bytes()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("training"))


def written(run):
    """Return when the newest checkpoint of a run was written; 0 before there is one."""
    try:
        return (run / "checkpoints" / "last" / "state.json").stat().st_mtime_ns
    except FileNotFoundError:  # also for the moment in which the next one takes its place
        return 0


def wait_for_checkpoints(process, run, count):
    """Wait until a run has written so many checkpoints more, or ends."""
    for _ in range(count):
        before = written(run)
        while is_alive(process) and written(run) in (0, before):
            time.sleep(0.002)


@pytest.fixture(scope="module")
def whole(commands, place):
    """Return the outcome of an uninterrupted run."""
    commands.finish("crossan-train", *arguments(place, place / "whole"))
    return outcome(place / "whole")


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_runs_killed_three_times_end_as_the_uninterrupted_one(commands, place, whole, tmp_path):
    """The first kill may come before there is a checkpoint, the others after one to four of their own.

    How far a run has come is told by its checkpoints, of which it writes 12, and
    not by the clock: so a loaded machine does not change where the kills fall.
    """
    chance, stopped, inside = random.Random(0), 0, 0
    for number in range(RUNS):
        out = tmp_path / str(number)
        for kill in range(KILLS):
            process = commands.begin("crossan-train", *arguments(place, out))
            wait_for_checkpoints(
                process, out, chance.randint(1, 4) if kill else chance.randint(0, 2)
            )
            time.sleep(chance.uniform(0, 0.05))
            os.kill(process, signal.SIGKILL)  # nobody has waited for it, so the id is its own
            stopped += commands.end() == -signal.SIGKILL
            inside += (out / "checkpoints").is_dir() and not (out / "result.json").exists()
        commands.finish("crossan-train", *arguments(place, out))
        assert outcome(out) == whole, number
    assert inside, "every kill came too early or too late"
    if RUNS == 100:  # where the machine has nothing else to do
        assert stopped > 0.6 * KILLS * RUNS
        assert inside > 0.3 * KILLS * RUNS, (stopped, inside)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_kill_in_place_of_any_sync_or_rename_is_mended(commands, place, whole, tmp_path):
    chance = random.Random(1)
    for number in range(RUNS):
        out = tmp_path / str(number)
        for _ in range(KILLS):
            commands.begin("crossan-train", *arguments(place, out), after=chance.randint(1, 60))
            assert commands.end() in (0, -signal.SIGKILL), commands.output()
        commands.finish("crossan-train", *arguments(place, out))
        assert outcome(out) == whole, number


def whole_refit(run):
    """Return the outcome of a run, and what its refit comes to."""
    refit = run / "refit"
    result = json.loads((refit / "result.json").read_text())
    best = (refit / "checkpoints/best/model.safetensors").read_bytes()
    metrics = outcomes.unmeasured_bytes(refit / "metrics.jsonl")
    return {**outcome(run), "refit": outcomes.unmeasured(result), "best": best, "lines": metrics}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_kill_anywhere_in_a_run_or_its_refit_is_mended(commands, place, tmp_path):
    refit = ("--refit", "all", "--set", "max_epochs=3")
    commands.finish("crossan-train", *arguments(place, place / "refitted"), *refit)
    expected = whole_refit(place / "refitted")
    chance, in_refit = random.Random(2), 0
    for number in range(RUNS):
        out = tmp_path / str(number)
        for _ in range(KILLS):
            after = chance.randint(1, 120)
            commands.begin("crossan-train", *arguments(place, out), *refit, after=after)
            assert commands.end() in (0, -signal.SIGKILL), commands.output()
            is_begun = (out / "refit").is_dir()
            in_refit += is_begun and not (out / "refit/result.json").exists()
        commands.finish("crossan-train", *arguments(place, out), *refit)
        assert whole_refit(out) == expected, number
    assert in_refit, "no kill came in a refit"
