"""``torchrun --nproc-per-node 2 ... crossan-train`` on gloo: the run of one process, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.fabricated import write_small
from support.outcomes import MEASURED, outcome
from support.processes import descendants, is_alive

pytestmark = pytest.mark.slow

PROGRAMS = Path(sys.executable).parent
TORCHRUN = (PROGRAMS / "torchrun", "--standalone", "--nproc-per-node", "2")
AS_MODULE, AS_COMMAND = ("-m", "crossan.train"), ("--no-python", PROGRAMS / "crossan-train")
SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.adapter_lr=0.01",
    "optimiser.lr=0.01",
    "batch_size=37",  # 150 users: the last batch of 2
    "patience=500",
)
EPOCHS = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("torchrun"))


def start(launcher, place, out, *more, epochs=EPOCHS):
    settings = [
        part for setting in (*SETTINGS, f"max_epochs={epochs}") for part in ("--set", setting)
    ]
    words = [
        "--dataset",
        "d",
        "--cache",
        "c",
        "--device",
        "cpu",
        "--json",
        "--out",
        out,
        *settings,
        *more,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("CROSSAN_DATASET", "CROSSAN_CACHE", "WORLD_SIZE", "RANK"):
        environment.pop(name, None)
    return subprocess.Popen(
        [*launcher, *map(str, words)],
        cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process, exit_code=0):
    out, said = process.communicate(timeout=120)
    assert process.returncode == exit_code, said
    return out, said


def result_of(process):
    out, said = finish(process)
    assert len(out.splitlines()) == 1, out  # one rank speaks
    return json.loads(out), said


@pytest.fixture(scope="module")
def whole(place):
    """A run of two ranks, with dropout, that nobody interrupts."""
    _, said = result_of(start((*TORCHRUN, *AS_MODULE), place, "whole"))
    assert said.count("; 2 ranks") == 1
    return outcome(place / "whole")


def ranks_of(process):
    """Return the process ids of the two ranks, in their order."""
    found = {}
    for one in descendants(process.pid):
        try:
            words = Path(f"/proc/{one}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found |= {int(word[5:]): one for word in words if word.startswith(b"RANK=")}
    return [found[number] for number in sorted(found)]


def wait_for_epochs(process, run, count):
    """Wait until a run has done some epochs; return the process ids of its ranks."""
    deadline = time.monotonic() + 60
    metrics = run / "metrics.jsonl"
    while not metrics.is_file() or len(metrics.read_text().splitlines()) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(ranks_of(process)) == 2
    return ranks_of(process)


def test_the_curve_is_that_of_one_process(place):
    more = ("--set", "model.dropout=0")
    alone, _ = result_of(start((PROGRAMS / "crossan-train",), place, "alone", *more, epochs=3))
    both, _ = result_of(start((*TORCHRUN, *AS_COMMAND), place, "both", *more, epochs=3))
    lines = [
        [json.loads(line) for line in (place / out / "metrics.jsonl").read_text().splitlines()]
        for out in ("alone", "both")
    ]
    assert len(lines[0]) == 3
    for one, two in zip(*lines, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["valid"] == one["valid"]
    assert {key: both[key] for key in both if key not in MEASURED} == {
        key: alone[key] for key in alone if key not in MEASURED
    }
    assert json.loads((place / "both" / "env.json").read_text())["spec"]["ranks"] == 2


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_other_and_a_fresh_start_goes_on(place, whole, victim):
    out = f"killed{victim}"
    process = start((*TORCHRUN, *AS_MODULE), place, out, "--set", "checkpoint.every_steps=3")
    ranks = wait_for_epochs(process, place / out, 5)
    os.kill(ranks[victim], signal.SIGKILL)
    finish(process, 1)
    assert not any(map(is_alive, ranks))
    assert not (place / out / "result.json").exists()
    _, said = result_of(start((*TORCHRUN, *AS_MODULE), place, out, "--resume"))
    assert said.count("going on after epoch ") == 1
    assert outcome(place / out) == whole


def test_sigterm_stops_all_ranks_after_the_same_step(place, whole):
    process = start((*TORCHRUN, *AS_MODULE), place, "told")
    wait_for_epochs(process, place / "told", 5)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert said.count(" written; the same command with --resume goes on from there") == 1
    assert not (place / "told" / ".owner").exists()
    result_of(start((*TORCHRUN, *AS_MODULE), place, "told", "--resume"))
    assert outcome(place / "told") == whole


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--outt", "x"), "No such option: --outt"),
        (("--set", "batch_size=0"), "ConfigError: --set batch_size=0: "),
        (("--reference",), "UsageError: --reference: the plain step is one process's"),
        (("--device", "cpu:7"), "UsageError: --device cpu:7: expected auto, cpu or cuda"),
        (("--set", "optimiser.lr=1e38"), "TrainingDivergedError: "),
        (("--cache", "/nowhere"), "StoreNotFoundError: "),
    ],
)
def test_what_stops_all_ranks_is_said_once(place, tmp_path, more, message):
    _, said = finish(start((*TORCHRUN, *AS_MODULE), place, tmp_path / "r", *more, epochs=1), 1)
    assert said.count(message) == 1
    assert said.count("Traceback") == said.count("ChildFailedError:") == 1  # torchrun's own


def test_an_error_of_one_rank_is_said_with_its_number(place, tmp_path):
    script = tmp_path / "odd"
    script.write_text(
        f'#!/bin/sh\n[ "$RANK" = 1 ] && cd {tmp_path}\nexec {PROGRAMS / "crossan-train"} "$@"\n'
    )
    script.chmod(0o755)
    _, said = finish(start((*TORCHRUN, "--no-python", script), place, tmp_path / "r", epochs=1), 1)
    assert said.count("rank 1: UsageError: ") == 1
    assert "no dataset" in said


def test_another_number_of_ranks_is_another_spec(place):
    result_of(start((*TORCHRUN, *AS_MODULE), place, "pair", epochs=1))
    alone = (PROGRAMS / "crossan-train",)
    _, said = finish(start(alone, place, "pair", "--resume", epochs=2), 5)
    assert "ranks: 2 then, 1 now" in said
    result_of(start(alone, place, "pair", "--resume", "--allow-other-spec", epochs=2))
