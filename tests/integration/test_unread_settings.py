"""Settings that nothing of a run reads, from the commands: refused, said, and without effect."""

import json

import pytest

from crossan.cache_schema.errors import ConfigError
from crossan.train.cli import evaluate, train
from crossan.train.sweep import judging, searching
from crossan.train.sweep.cli import sweep
from support.commands import QUICK, attempt, run, train_in, training
from support.sweeps import arguments, run_sweep, train_here

SASREC = (
    *(setting for setting in QUICK if "adapter" not in setting),
    "max_epochs=2",
    "model.kind=sasrec",
)
FLOOR = ("--set", "optimiser.cosine_floor=0.2")


@pytest.fixture
def in_this_process(monkeypatch):
    for module in (searching, judging):
        monkeypatch.setattr(module, "run_commands", train_here)


def weights(folder):
    return (folder / "checkpoints/best/model.safetensors").read_bytes()


def test_a_setting_without_what_it_needs_is_refused_before_anything_is_written(place):
    refused = attempt(train, *training(place, SASREC, *FLOOR, out="refused"))
    assert isinstance(refused.exception, ConfigError)
    assert refused.exception.exit_code == 2
    assert "optimiser.cosine_floor=0.2 is not read: it needs optimiser.cosine_epochs" in str(
        refused.exception
    )
    assert not (place / "refused").exists()


def test_what_is_unread_is_said_and_moves_no_weight(place):
    alone = train_in(place, SASREC, out="alone")
    rate = ("--set", "optimiser.adapter_lr=0.7")
    beside = train_in(place, SASREC, *rate, *FLOOR, "--allow-unread", out="beside")
    assert "is not read" not in alone.stderr
    said = [line for line in beside.stderr.splitlines() if "is not read" in line]
    assert [line.partition("optimiser.")[2] for line in said] == [
        "adapter_lr=0.7 is not read: it needs a model of towers, or backbones that are trained",
        "cosine_floor=0.2 is not read: it needs optimiser.cosine_epochs",
    ]
    assert weights(place / "alone") == weights(place / "beside")


def test_a_run_that_has_begun_goes_on_and_is_judged_whatever_it_has_unread(place):
    train_in(place, SASREC, *FLOOR, "--allow-unread", out="begun")
    more = train_in(place, SASREC, *FLOOR, "--set", "max_epochs=3", "--resume", out="begun")
    assert json.loads(more.stdout.splitlines()[-1])["epochs"] == 3
    assert "is not read" not in more.stderr
    run(evaluate, place / "begun")


def test_a_sweep_may_vary_what_some_of_its_trials_do_not_read(place, in_this_process):
    report = run_sweep(
        place, "--grid", "model.fusion=momef,concat", "--set", "model.top_k=1", "--no-test"
    )
    assert len(report["settings"]) == 2


def test_a_sweep_refuses_what_none_of_its_trials_reads(place):
    def refusal(*more):
        refused = attempt(sweep, *arguments(place, *more, out="none"))
        assert isinstance(refused.exception, ConfigError)
        assert not (place / "none").exists()
        return str(refused.exception)

    concat = ("--set", "model.fusion=concat")
    base = refusal("--grid", "optimiser.lr=0.1,0.2", *concat, "--set", "model.top_k=1")
    assert "model.top_k=1 is not read: it needs model.fusion=momef" in base
    axis = refusal("--grid", "optimiser.id_lr=0.1,0.2")
    assert "optimiser.id_lr: expected an axis that some trial reads, found none" in axis
