"""A training whose steps are recorded: the same bytes wherever features live and whenever it was stopped."""

import signal

import pytest
import torch

from crossan.common.config import load_settings
from crossan.train.features import Placement
from crossan.train.features.streamed import StreamedFeatures
from crossan.train.loop.choosing import is_recorded, recorder_of, repeater_of, way_of_steps
from crossan.train.loop.recorder import Repeater
from crossan.train.runs import training
from crossan.train.runs.launch import Launch
from crossan.train.runs.planning import claim, plan_run
from crossan.train.settings import RunSettings
from support.commands import train_in
from support.fabricated import write_small
from support.outcomes import outcome
from support.stopping import signal_at_step
from support.tape import Tape

SETTINGS = ("model.bottleneck_dim=8", "model.width=16", "batch_size=16", "max_epochs=2")


def train_by(recorder, place, out, residence="device", settings=SETTINGS, **more):
    """Train a run whose steps are recorded by something else than the device."""
    settings = load_settings(
        RunSettings,
        assignments=[*settings, f"data.dataset={place / 'd'}", f"data.cache={place / 'c'}"],
    )
    placement = Placement.parse(residence, "1MiB" if residence == "streamed" else None, None)
    launch = Launch(device="cpu", placement=placement, recorder_of=lambda device: recorder, **more)
    plan = plan_run(settings, out, launch)
    with claim(plan):
        training.train(plan)
    return outcome(out)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def whole(place):
    return train_by(Repeater(), place, place / "whole")


@pytest.mark.parametrize("residence", ["device", "streamed", "several places"])
def test_recorded_training_gives_the_same_bytes(place, whole, tmp_path, monkeypatch, residence):
    if residence == "several places":

        def several(stored, placement, device, demand):
            rows = torch.arange(stored.item_count).numpy()
            return StreamedFeatures(stored, device, rows[1::3], rows[::3])

        monkeypatch.setattr("crossan.train.runs.opening.place_features", several)
        residence = "auto"
    tape = Tape()
    assert train_by(tape, place, tmp_path / "r", residence) == whole
    assert tape.replays >= 12  # of 20 steps


def test_a_recorded_training_goes_on_as_if_it_was_never_stopped(
    place, whole, tmp_path, monkeypatch
):
    signal_at_step(monkeypatch, signal.SIGTERM, 13)
    with pytest.raises(SystemExit) as ended:
        train_by(Tape(), place, tmp_path / "r")
    assert ended.value.code == 143
    monkeypatch.undo()
    assert train_by(Tape(), place, tmp_path / "r", may_resume=True) == whole


def test_recorded_steps_follow_the_rates_and_drops_of_a_schedule(place, tmp_path):
    course = (
        "optimiser.warmup_epochs=1.5",
        "optimiser.drop_after=[1]",
        "optimiser.id_lr_start=0.1",
        "average_epochs=2",
        "max_epochs=3",
    )
    tape = Tape()
    recorded = train_by(tape, place, tmp_path / "recorded", settings=(*SETTINGS, *course))
    assert tape.replays >= 12
    assert recorded == train_by(
        Repeater(), place, tmp_path / "repeated", settings=(*SETTINGS, *course)
    )


def test_a_cpu_records_nothing(place):
    """And so ``--no-recording`` changes nothing there, not even the shapes of its steps."""
    assert recorder_of(torch.device("cpu")) is None
    assert repeater_of(torch.device("cpu")) is None
    assert isinstance(repeater_of(torch.device("cuda", 1)), Repeater)


def test_without_recordings_a_cpu_takes_the_same_steps(place):
    """In the shapes of their batches, and not of buckets, which would draw other dropout."""
    for name, flags in (("plain", ()), ("anew", ("--no-recording",))):
        train_in(place, SETTINGS, "--refit", "all", *flags, out=name)
    assert outcome(place / "anew") == outcome(place / "plain")
    refitted = "refit/checkpoints/best/model.safetensors"
    assert (place / "anew" / refitted).read_bytes() == (place / "plain" / refitted).read_bytes()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model": {"kind": "crossan"}}, True),
        ({"model": {"kind": "indsan"}}, True),
        ({"model": {"kind": "iisan"}}, True),
        ({"model": {"kind": "frozen", "fusion": "static-gate"}}, True),
        ({"model": {"kind": "sasrec"}}, True),
        ({"model": {"kind": "crossan"}, "reference": True}, False),
        # A memory or a table that is refreshed decides on the host.
        ({"model": {"kind": "crossan"}, "objective": {"kind": "catalogue"}}, False),
        ({"model": {"kind": "crossan"}, "objective": {"kind": "cross-batch"}}, False),
        # Code of somebody else's may do anything.
        ({"model": {"kind": "crossan", "fusion": "mine.py:Fusion"}}, False),
        ({"model": {"kind": "fine-tuned"}}, False),
        ({"model": {"kind": "vbpr"}, "objective": {"kind": "triples"}}, False),
        ({"model": {"kind": "popularity"}}, False),
    ],
)
def test_which_runs_are_recorded(settings, expected):
    run = RunSettings.model_validate({"data": {"dataset": "d"}} | settings)
    assert is_recorded(run) is expected
    takes_steps = run.model.kind != "popularity"
    eager = "eager" if takes_steps else None
    assert way_of_steps(run, torch.device("cpu")) == eager
    on_cuda = way_of_steps(run, torch.device("cuda", 1))
    assert on_cuda == ("recorded" if expected else eager)


def test_the_way_stands_in_the_result(place, whole):
    assert whole["result"]["steps"] == "eager"  # of the device, a CPU
