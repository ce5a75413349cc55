"""``torchrun --nproc-per-node 2 ... crossan-train`` on gloo: the run of one process, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from crossan.train.record.ending import END_FILE
from support.commands import training
from support.outcomes import MEASURED, outcome, unmeasured_bytes
from support.processes import is_alive
from support.selection import beyond
from support.started import CEILING_S, PROGRAMS, finish
from support.torchrun import (
    AS_COMMAND,
    UNEVEN,
    Held,
    Pair,
    environment,
    ranks_of,
    start_torchrun,
    wait_for_epochs,
)

pytestmark = pytest.mark.slow

EPOCHS = 24
HELD_AT = 28
"""In the middle of the sixth epoch of five steps."""


def words(out, *more, epochs=EPOCHS):
    return training(Path(), (*UNEVEN, f"max_epochs={epochs}"), *more, out=out)


@pytest.fixture(scope="module")
def pair(commands, place):
    """Return a function that starts two ranks as torchrun does, forked."""
    return lambda *given, **options: Pair(commands, words(*given, **options), place)


@pytest.fixture(scope="module")
def alone(commands, place):
    """Return a function that starts a training of one process, forked."""
    return lambda *given, **options: commands.start(
        "crossan-train", *words(*given, **options), folder=place, environment=environment()
    )


def result_of(finished):
    printed, said = finished
    assert len(printed.splitlines()) == 1, printed  # one rank speaks
    return json.loads(printed), said


@pytest.fixture(scope="module")
def whole(place, pair):
    """A run of two ranks, with dropout, that nobody interrupts."""
    _, said = result_of(pair("whole").finish())
    assert said.count("; 2 ranks") == 1
    return outcome(place / "whole")


def test_the_curve_is_that_of_one_process(place, alone):
    more = ("--set", "model.dropout=0")
    single, _ = result_of(finish(alone("alone", *more, epochs=3)))
    process = start_torchrun(words("both", *more, epochs=3), place, AS_COMMAND)
    both, _ = result_of(finish(process))
    lines = [
        [json.loads(line) for line in (place / out / "metrics.jsonl").read_text().splitlines()]
        for out in ("alone", "both")
    ]
    assert len(lines[0]) == 3
    for one, two in zip(*lines, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["valid"] == one["valid"]
    assert {key: both[key] for key in both if key not in MEASURED} == {
        key: single[key] for key in single if key not in MEASURED
    }
    assert json.loads((place / "both" / "env.json").read_text())["spec"]["ranks"] == 2


def test_both_ranks_standardise_by_the_statistics_of_one_process(place, alone, pair):
    more = ("--set", "model.dropout=0", "--set", "features.standardise=layer")
    single, _ = result_of(finish(alone("standard", *more, epochs=2)))
    both, said = result_of(pair("standard2", *more, epochs=2).finish())
    assert said.count("deviations of the layers") == 1
    ours, theirs = (place / run / "standardise.safetensors" for run in ("standard", "standard2"))
    assert ours.read_bytes() == theirs.read_bytes()
    assert both["valid"] == single["valid"]


@pytest.mark.parametrize("victim", beyond(1, [0, 1]))
def test_a_killed_rank_ends_the_other_and_a_fresh_start_goes_on(
    place, whole, pair, victim, tmp_path
):
    out = f"killed{victim}"
    given = words(out, "--set", "checkpoint.every_steps=3")
    held = Held(given, place, tmp_path / "gate", HELD_AT)
    ranks = ranks_of(held.process)
    assert len(ranks) == 2
    os.kill(ranks[victim], signal.SIGKILL)
    held.let_go()
    finish(held.process, 1)
    assert not any(map(is_alive, ranks))
    assert not (place / out / "result.json").exists()
    _, said = result_of(pair(out, "--resume").finish())
    assert said.count("going on after epoch ") == 1
    assert outcome(place / out) == whole


@pytest.mark.exhaustive
def test_sigterm_stops_all_ranks_after_the_same_step(place, whole, pair, tmp_path):
    process = Held(words("told"), place, tmp_path / "gate", HELD_AT).process
    process.terminate()
    _, said = process.communicate(timeout=CEILING_S)
    assert process.returncode != 0
    assert said.count(" written; the same command with --resume goes on from there") == 1
    assert not (place / "told" / ".owner").exists()
    result_of(pair("told", "--resume").finish())
    assert outcome(place / "told") == whole


@pytest.mark.parametrize(
    ("more", "exit_code", "message"),
    [
        (("--outt", "x"), 2, "UsageError: --outt: no such option"),
        (("--set", "batch_size=0"), 2, "ConfigError: --set batch_size=0: "),
        (("--reference",), 2, "UsageError: --reference: the plain step is one process's"),
        (("--device", "cpu:7"), 2, "UsageError: --device cpu:7: expected auto, cpu or cuda"),
        (("--set", "optimiser.lr=1e38"), 1, "TrainingDivergedError: "),
        (("--cache", "/nowhere"), 2, "StoreNotFoundError: "),
    ],
)
def test_what_stops_all_ranks_is_said_once(pair, tmp_path, more, exit_code, message):
    _, said = pair(tmp_path / "r", *more, epochs=1).finish(exit_code)
    assert said.count(message) == 1
    assert "Traceback" not in said


@pytest.mark.exhaustive
def test_torchrun_adds_its_own_traceback_to_what_stops_all_ranks(place, tmp_path):
    diverging = words(tmp_path / "r", "--set", "optimiser.lr=1e38", epochs=1)
    _, said = finish(start_torchrun(diverging, place), 1)
    assert said.count("TrainingDivergedError: ") == 1
    assert said.count("Traceback") == said.count("ChildFailedError:") == 1


@pytest.mark.exhaustive
def test_an_error_of_one_rank_is_said_with_its_number(place, tmp_path):
    script = tmp_path / "odd"
    script.write_text(
        f'#!/bin/sh\n[ "$RANK" = 1 ] && cd {tmp_path}\nexec {PROGRAMS / "crossan-train"} "$@"\n'
    )
    script.chmod(0o755)
    process = start_torchrun(words(tmp_path / "r", epochs=1), place, ("--no-python", script))
    _, said = finish(process, 1)
    assert said.count("rank 1: UsageError: ") == 1
    assert "no dataset" in said


def test_two_ranks_refit_a_run_at_once_or_afterwards(place, pair):
    at_once, said = result_of(pair("x", "--refit", "all", epochs=3).finish())
    assert said.count("; 2 ranks") == 2  # of the run and of its refit
    result_of(pair("y", epochs=3).finish())
    afterwards, _ = result_of(pair("y", "--resume", "--refit", "all", epochs=3).finish())
    assert at_once["refit"]["refit"] == afterwards["refit"]["refit"]
    assert outcome(place / "x") == outcome(place / "y")
    for file in ("checkpoints/best/model.safetensors", "metrics.jsonl"):
        x, y = (unmeasured_bytes(place / out / "refit" / file) for out in ("x", "y"))
        assert x == y
    again, said = result_of(pair("y", "--resume", "--refit", "all", epochs=3).finish())
    assert again == afterwards
    assert "ranks" not in said  # nothing was trained


def test_two_ranks_agree_on_drops_and_means(place, pair):
    """A plateau an epoch long, so that rates drop, and a mean that training goes on from."""
    more = (
        "patience=1",
        "optimiser.plateau_drops=2",
        "average_epochs=2",
        "checkpoint.keep_epochs=1",
    )
    settings = [word for setting in more for word in ("--set", setting)]
    at_once, said = result_of(pair("dropped", *settings).finish())
    assert len(at_once["drops"]) == 2
    assert said.count("learning rates times 0.1") == 2
    result_of(pair("in-parts", *settings, epochs=at_once["drops"][0]["after"]).finish())
    _, said = result_of(pair("in-parts", "--resume", *settings).finish())
    assert said.count("learning rates times 0.1") == 1
    assert outcome(place / "in-parts") == outcome(place / "dropped")


def test_two_ranks_end_when_the_first_is_asked_to(place, pair):
    process = pair("ended", epochs=10_000)
    wait_for_epochs(None, place / "ended", 2)
    (place / "ended" / END_FILE).touch()
    result, said = result_of(process.finish())
    assert result["stopped_by"] == "ended"
    assert 2 <= result["epochs"] < 10_000
    assert said.count("end-here asks for the end") == 1


def test_another_number_of_ranks_is_another_spec(pair, alone):
    result_of(pair("pair", epochs=1).finish())
    _, said = finish(alone("pair", "--resume", epochs=2), 5)
    assert "ranks: 2 then, 1 now" in said
    result_of(finish(alone("pair", "--resume", "--allow-other-spec", epochs=2)))
