"""A training whose steps are recorded: the same bytes wherever features live and whenever it was stopped."""

import os
import signal
from functools import partial

import pytest
import torch

from crossan.train.cli import train
from crossan.train.features.streamed import StreamedFeatures
from crossan.train.loop.choosing import is_recorded, recorder_of, way_of_steps
from crossan.train.loop.recorder import Repeater
from crossan.train.loop.trainer import fit
from crossan.train.runs import training
from crossan.train.settings import RunSettings
from support.commands import attempt, train_in
from support.commands import training as arguments_of
from support.fabricated import write_small
from support.outcomes import outcome
from support.stopping import at_step
from support.tape import Tape

SETTINGS = ("model.bottleneck_dim=8", "model.width=16", "batch_size=16", "max_epochs=2")


def record_by(monkeypatch, recorder, on_step=None):
    monkeypatch.setattr(training, "fit", partial(fit, on_step=on_step, recorder=recorder))
    return recorder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def whole(place):
    with pytest.MonkeyPatch.context() as monkeypatch:
        record_by(monkeypatch, Repeater())
        train_in(place, SETTINGS, "--residence", "device", out="whole")
    return outcome(place / "whole")


@pytest.mark.parametrize("residence", ["device", "streamed", "several places"])
def test_recorded_training_gives_the_same_bytes(place, whole, tmp_path, monkeypatch, residence):
    more = ("--residence", residence)
    if residence == "streamed":
        more += ("--max-ram", "1MiB")
    if residence == "several places":
        more = ()

        def several(stored, placement, device, demand):
            rows = torch.arange(stored.item_count).numpy()
            return StreamedFeatures(stored, device, rows[1::3], rows[::3])

        monkeypatch.setattr("crossan.train.runs.opening.place_features", several)
    tape = record_by(monkeypatch, Tape())
    train_in(place, SETTINGS, *more, out=tmp_path / "r")
    assert outcome(tmp_path / "r") == whole
    assert tape.replays >= 12  # of 20 steps


def test_a_recorded_training_goes_on_as_if_it_was_never_stopped(
    place, whole, tmp_path, monkeypatch
):
    stop = at_step(13, lambda: os.kill(os.getpid(), signal.SIGTERM))
    record_by(monkeypatch, Tape(), stop)
    command = arguments_of(place, SETTINGS, out=tmp_path / "r")
    assert attempt(train, *command).exit_code == 143
    record_by(monkeypatch, Tape())
    train_in(place, SETTINGS, "--resume", out=tmp_path / "r")
    assert outcome(tmp_path / "r") == whole


def test_a_cpu_records_nothing():
    assert recorder_of(torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("settings", "rank_count", "expected"),
    [
        ({"model": {"kind": "crossan"}}, 1, True),
        ({"model": {"kind": "indsan"}}, 1, True),
        ({"model": {"kind": "iisan"}}, 1, True),
        ({"model": {"kind": "frozen", "fusion": "static-gate"}}, 1, True),
        ({"model": {"kind": "sasrec"}}, 1, True),
        # Several ranks communicate within the step.
        ({"model": {"kind": "crossan"}}, 2, False),
        ({"model": {"kind": "crossan"}, "reference": True}, 1, False),
        # A memory or a table that is refreshed decides on the host.
        ({"model": {"kind": "crossan"}, "objective": {"kind": "catalogue"}}, 1, False),
        ({"model": {"kind": "crossan"}, "objective": {"kind": "cross-batch"}}, 1, False),
        # Code of somebody else's may do anything.
        ({"model": {"kind": "crossan", "fusion": "mine.py:Fusion"}}, 1, False),
        ({"model": {"kind": "fine-tuned"}}, 1, False),
        ({"model": {"kind": "vbpr"}, "objective": {"kind": "triples"}}, 1, False),
        ({"model": {"kind": "popularity"}}, 1, False),
    ],
)
def test_which_runs_are_recorded(settings, rank_count, expected):
    run = RunSettings.model_validate({"data": {"dataset": "d"}} | settings)
    assert is_recorded(run, rank_count) is expected
    takes_steps = run.model.kind != "popularity"
    eager = "eager" if takes_steps else None
    assert way_of_steps(run, torch.device("cpu"), rank_count) == eager
    on_cuda = way_of_steps(run, torch.device("cuda", 1), rank_count)
    assert on_cuda == ("recorded" if expected else eager)


def test_the_way_stands_in_the_result(place, whole):
    assert whole["result"]["steps"] == "eager"  # of the device, a CPU
