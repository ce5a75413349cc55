"""`crossan sweep` stopped, failing, going on: to the same points and weights, and never on other data behind its back."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from crossan.cache_schema.errors import (
    IncompatibleError,
)
from crossan.cache_schema.modality import Modality
from crossan.train.sweep import judging, searching
from crossan.train.sweep.cli import TrialsFailedError
from support.fabricated import write_small, write_store
from support.outcomes import unmeasured_bytes
from support.processes import descendants, is_alive
from support.started import CEILING_S, finish, wait_until
from support.sweeps import (
    WEIGHTS,
    arguments,
    attempt_sweep,
    linked,
    run_sweep,
    run_train,
    train_here,
)

pytestmark = pytest.mark.usefixtures("one_thread")


LONG = (
    "--set",
    "max_epochs=60",
    "--set",
    "patience=60",
    "--set",
    "checkpoint.every_steps=1",
    "--threads",
    "1",
)


def epochs_done(place):
    (path,) = list((place / "s/runs").glob("*/metrics.jsonl")) or [None]
    return 0 if path is None else len(path.read_text().splitlines())


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_sweep_stopped_anywhere_goes_on_to_the_same_weights(place, commands, tmp_path):
    def begin():
        return commands.start(
            "crossan", "sweep", *arguments(tmp_path, *LONG), log=tmp_path / "output"
        )

    linked(tmp_path, place)
    run_train(tmp_path, *LONG[:4], out="plain")
    for number, expected in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        before = epochs_done(tmp_path)
        process = begin()
        wait_until(
            lambda before=before: epochs_done(tmp_path) >= before + 3, "three epochs", process
        )
        (child,) = descendants(process.pid)
        process.send_signal(number)
        assert process.wait() == expected
        wait_until(lambda child=child: not is_alive(child), "the end of the trial")
        assert not (tmp_path / "s/selection.json").exists()
    finish(begin())
    (run,) = (tmp_path / "s/runs").iterdir()
    for file in (*WEIGHTS, "eval/per_user.parquet"):
        assert unmeasured_bytes(run / file) == unmeasured_bytes(tmp_path / "plain" / file)
    assert "told to end: what was finished is kept" in (tmp_path / "output").read_text()
    assert (
        "checkpoint of epoch" in (tmp_path / "s/logs" / f"{run.name}.log").read_text()
    )  # SIGTERM came through, once


@pytest.fixture
def in_this_process(monkeypatch):
    for module in (searching, judging):
        monkeypatch.setattr(module, "run_commands", train_here)


def test_a_sweep_that_goes_on_proposes_the_same_points(
    tmp_path, place, in_this_process, monkeypatch
):
    pytest.importorskip(
        "optuna",
        reason="optuna is not installed (pip install '.[optuna]'): its sampler is untested",
    )
    more = (
        "--sampler",
        "optuna",
        "--trials",
        "14",
        "--range",
        "optimiser.lr=1e-4:1e-1:log",
        "--jobs",
        "2",
        "--no-test",
    )
    more = (*more, "--grid", "model.layers=[0],[0,1]", "--set", "max_epochs=1")
    for name in ("whole", "stopped"):
        linked(tmp_path / name, place)
    run_sweep(tmp_path / "whole", *more)
    left = [9]

    def stop_after_some(commands, slots, told, on_end, on_look=None):
        for command in commands:
            if left[0] == 0:
                told.set()
                return
            left[0] -= 1
            train_here([command], slots, told, on_end)

    monkeypatch.setattr(searching, "run_commands", stop_after_some)
    assert attempt_sweep(tmp_path / "stopped", *more).exit_code == 143
    assert len(list((tmp_path / "stopped/s/runs").iterdir())) == 9
    left[0] = 99
    run_sweep(tmp_path / "stopped", *more)
    assert left[0] == 99 - 5  # nothing was run twice
    for name in ("selection.json", "points.json"):
        assert (tmp_path / "stopped/s" / name).read_bytes() == (
            tmp_path / "whole/s" / name
        ).read_bytes()
    points = json.loads((tmp_path / "whole/s/points.json").read_text())
    assert len({json.dumps(point) for point in points}) == 14


def test_ctrl_c_ends_with_its_own_code(tmp_path, place, monkeypatch):
    def interrupt(commands, slots, told, on_end, on_look=None):
        os.kill(os.getpid(), signal.SIGINT)
        assert told.wait(CEILING_S)

    monkeypatch.setattr(searching, "run_commands", interrupt)
    result = attempt_sweep(linked(tmp_path, place))
    assert result.exit_code == 130
    assert "SIGINT: finishing the checkpoints of the trials in hand" in result.stderr
    assert not (tmp_path / "s/.owner").exists()


def test_a_failure_that_is_no_divergence_is_tried_again(
    tmp_path, place, in_this_process, monkeypatch
):
    def fail(commands, slots, told, on_end, on_look=None):
        for command in commands:
            on_end(command, -9, "killed by SIGKILL")

    monkeypatch.setattr(searching, "run_commands", fail)
    more = ("--no-test", "--seeds", "3")
    linked(tmp_path, place)
    with pytest.raises(TrialsFailedError):
        run_sweep(tmp_path, *more)
    report = json.loads((tmp_path / "s/sweep.json").read_text())
    assert (report["chosen"], report["failed"][0]["reason"]) == (None, "killed by SIGKILL")
    monkeypatch.setattr(searching, "run_commands", train_here)
    report = run_sweep(tmp_path, *more)
    assert report["failed"] == []
    assert (report["chosen"]["point"], report["test"]) == ({}, None)


def test_figures_count_however_their_process_ended(tmp_path, place, monkeypatch):
    def end_badly(commands, slots, told, on_end, on_look=None):
        train_here(
            commands, slots, told, lambda command, *_: on_end(command, 1, "killed by SIGKILL")
        )

    monkeypatch.setattr(searching, "run_commands", end_badly)
    linked(tmp_path, place)
    more = ("--no-test", "--set", "max_epochs=1")
    report = run_sweep(tmp_path, *more)
    (run,) = report["chosen"]["runs"]
    assert report["failed"] == []
    failure = (
        tmp_path / "s/failed" / f"{Path(run['run']).name}.json"
    )  # as crossan before this recorded it
    failure.parent.mkdir()
    failure.write_text(
        json.dumps({"exit_code": 1, "reason": "killed by SIGKILL", "is_final": False})
    )
    assert run_sweep(tmp_path, *more) == report
    assert not failure.exists()


def test_a_modality_that_comes_while_trials_run_stops_the_sweep(tmp_path, monkeypatch):
    write_small(tmp_path)

    def publish_after_the_first(commands, slots, told, on_end, on_look=None):
        for command in commands:
            train_here([command], slots, told, on_end)
            write_store(tmp_path / "c", Modality.AUDIO)

    monkeypatch.setattr(searching, "run_commands", publish_after_the_first)
    more = ("--grid", "optimiser.lr=1e-3,1e-2,1e-1", "--no-test", "--set", "max_epochs=1")
    with pytest.raises(
        IncompatibleError,
        match="modalities: image, text in the cache as it is now; audio, image, text",
    ):
        run_sweep(tmp_path, *more)
    assert len(list((tmp_path / "s/runs").iterdir())) == 2  # the third was not begun
    assert not (tmp_path / "s/selection.json").exists()
    with pytest.raises(
        IncompatibleError,
        match=r"image, text in runs/\w+-seed0; audio, image, text in runs/\w+-seed0",
    ):
        run_sweep(tmp_path, *more)


def test_a_sweep_that_goes_on_with_another_cache_starts_nothing(tmp_path, monkeypatch):
    write_small(tmp_path)

    def stop_after_one(commands, slots, told, on_end, on_look=None):
        train_here(commands[:1], slots, told, on_end)
        told.set()

    monkeypatch.setattr(searching, "run_commands", stop_after_one)
    more = ("--grid", "optimiser.lr=1e-3,1e-2", "--no-test", "--set", "max_epochs=1")
    assert attempt_sweep(tmp_path, *more).exit_code == 143
    audio = write_store(tmp_path / "c", Modality.AUDIO)
    with pytest.raises(
        IncompatibleError,
        match=r"image, text in runs/\w+-seed0; audio, image, text in the cache as it",
    ):
        run_sweep(tmp_path, *more)
    assert len(list((tmp_path / "s/runs").iterdir())) == 1
    shutil.rmtree(audio)
    monkeypatch.setattr(searching, "run_commands", train_here)
    assert len(run_sweep(tmp_path, *more)["settings"]) == 2
