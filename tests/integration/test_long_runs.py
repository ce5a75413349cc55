"""Schedules, averaged weights and kept epochs, from the command to its result."""

import json
import signal
from datetime import datetime, timedelta

import pytest
import torch
from safetensors.torch import load_file

from crossan.cache_schema.errors import UsageError
from crossan.common.config import load_settings
from crossan.train.cli import evaluate, train
from crossan.train.loop import epochs as loop
from crossan.train.loop.optimiser import make_optimiser
from crossan.train.loop.step_runner import EagerSteps
from crossan.train.objectives import ObjectiveContext, make_objective
from crossan.train.runs.launch import Launch
from crossan.train.runs.planning import plan_run
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.sequences.splits import train_split
from crossan.train.settings import RunSettings
from support.commands import attempt, run, train_in, training
from support.outcomes import MEASURED_OF_EPOCH, outcome
from support.stopping import Died, die_at_step, signal_at_step

SASREC = (
    "model.kind=sasrec",
    "model.width=8",
    "optimiser.lr=0.02",
    "batch_size=32",
    "average_epochs=1",
    "objective.debias=all",
    "model.dropout=0.1",
)
KINDS = {
    "sasrec": SASREC,
    # A table model, which has vectors of users and counts what it propagates.
    "vbpr": ("model.kind=vbpr", "model.width=8", "optimiser.lr=0.02", "batch_size=64"),
}
STEPS_PER_EPOCH = 5  # of SASREC: 150 users, 32 a step
DROPPING = (*SASREC, "patience=2", "optimiser.plateau_drops=1", "optimiser.lr=0.05")


def trained(place, settings, *more, out="r"):
    return json.loads(train_in(place, settings, *more, out=out).stdout.splitlines()[-1])


def lines_of(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def weights_of(run_folder, name):
    return load_file(run_folder / f"checkpoints/{name}/model.safetensors")


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_a_line_says_what_an_epoch_cost_and_at_which_rates(place):
    settings = (*SASREC, "max_epochs=4", "optimiser.warmup_epochs=2", "optimiser.cosine_epochs=4")
    result = trained(place, settings, out="lines")
    lines = lines_of(place / "lines")
    assert all(line.keys() >= {*MEASURED_OF_EPOCH, "rates"} for line in lines)
    ended = [datetime.fromisoformat(line["ended"]) for line in lines]
    assert ended == sorted(ended)
    assert ended[0].utcoffset() == timedelta(0)
    seconds = [line["seconds"] for line in lines]
    assert min(seconds) > 0
    # Lines are rounded to milliseconds.
    assert sum(seconds) == pytest.approx(4 * result["seconds_per_epoch"], abs=0.004)
    # The last step of each epoch: half risen, risen, then nine tenths of the way down.
    assert [line["rates"] for line in lines[:2]] == [
        {"lr": pytest.approx(0.01), "id_lr": pytest.approx(0.0005)},
        {"lr": pytest.approx(0.02), "id_lr": pytest.approx(0.001)},
    ]
    assert lines[3]["rates"]["lr"] < lines[2]["rates"]["lr"] < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_as_best_is_the_mean_of_the_last_epochs(place, kind):
    settings = (*KINDS[kind], "max_epochs=5", "patience=9", "checkpoint.keep_epochs=9")
    trained(place, settings, out=f"{kind}-plain")
    result = trained(place, (*settings, "average_epochs=3"), out=f"{kind}-mean")
    plain, mean = place / f"{kind}-plain", place / f"{kind}-mean"
    # The steps never see the mean.
    for file in ("model", "optimiser"):
        path = f"checkpoints/last/{file}.safetensors"
        assert (plain / path).read_bytes() == (mean / path).read_bytes()
    ends = [weights_of(plain, f"epoch-{epoch}") for epoch in range(1, 6)]
    for epoch in range(1, 6):
        judged = weights_of(mean, f"epoch-{epoch}")
        for name, tensor in judged.items():
            last = torch.stack([each[name].double() for each in ends[max(epoch - 3, 0) : epoch]])
            torch.testing.assert_close(tensor.double(), last.mean(0), rtol=1e-5, atol=1e-7)
    assert_equal(weights_of(mean, "best"), weights_of(mean, f"epoch-{result['best_epoch']}"))
    assert result["valid"] == lines_of(mean)[result["best_epoch"] - 1]["valid"]


def by_hand(place, settings, out, drop):
    """Take the epochs of a run one step after the other, from the best weights where it dropped."""
    assignments = (*settings, f"data.dataset={place / 'd'}", f"data.cache={place / 'c'}")
    chosen = load_settings(RunSettings, assignments=[*assignments])
    run = plan_run(chosen, out, Launch(device="cpu")).run.without_test()
    counts = training_counts(run.seen.training_items, len(run.seen.item_ids))
    split = train_split(run.seen, chosen.data.input_length)
    context = ObjectiveContext(chosen, split, log_popularity(counts), seen=run.seen)
    objective, optimiser = make_objective(context), None
    kept = {}
    for epoch in range(1, chosen.max_epochs + 1):
        factor = 1.0
        if epoch > drop["after"]:
            factor = 0.1
        if epoch == drop["after"] + 1:
            run.model.load_state_dict(kept[drop["from"]])
        if epoch in (1, drop["after"] + 1):
            optimiser = make_optimiser(run.model.parameter_groups(), chosen.optimiser)
            optimiser.rates = [group["lr"] * factor for group in optimiser.param_groups]
            steps = EagerSteps(run.model, objective, run.features, optimiser)
        torch.manual_seed(chosen.seed * loop._SEED_STRIDE + epoch)
        run.model.train()
        for batch in objective.batches(epoch):
            steps.take(steps.prepare(batch))
        kept[epoch] = {name: each.clone() for name, each in run.model.state_dict().items()}
    return kept


def test_a_plateau_lowers_the_rates_and_goes_on_from_the_best_weights(place):
    settings = (*DROPPING, "max_epochs=30", "checkpoint.keep_epochs=30")
    stderr = attempt(train, *training(place, settings, out="dropped")).stderr
    result = json.loads((place / "dropped/result.json").read_text())
    (drop,) = result["drops"]
    lines, epochs = lines_of(place / "dropped"), result["epochs"]
    assert drop["after"] == drop["from"] + 2 < epochs < 30
    assert f"learning rates times 0.1, going on from the weights of epoch {drop['from']}" in stderr
    assert f"if nothing improves, ends after epoch {1 + 2 + 2} (about" in stderr
    assert [line["rates"]["lr"] for line in lines] == [
        pytest.approx(0.05 if line["epoch"] <= drop["after"] else 0.005) for line in lines
    ]
    assert result["stopped_by"] == "patience"
    twin = by_hand(place, (*settings, f"max_epochs={epochs}"), place / "twin", drop)
    for epoch in range(1, epochs + 1):
        assert_equal(weights_of(place / "dropped", f"epoch-{epoch}"), twin[epoch])


def test_after_the_last_drop_a_fixed_number_of_epochs_may_follow(place):
    settings = (*DROPPING, "max_epochs=30", "optimiser.drop_epochs=1")
    result = trained(place, settings, out="fixed")
    assert result["stopped_by"] == "drop_epochs"
    assert result["epochs"] == result["drops"][0]["after"] + 1


@pytest.mark.parametrize(
    "settings",
    [
        (*DROPPING, "max_epochs=8", "average_epochs=2"),
        (*SASREC, "max_epochs=3", "optimiser.warmup_epochs=2.5", "optimiser.id_lr_start=0.1"),
        (*SASREC, "max_epochs=3", "optimiser.drop_after=[1,2]", "average_epochs=2"),
        (*KINDS["vbpr"], "max_epochs=3", "average_epochs=2", "optimiser.cosine_epochs=3"),
    ],
    ids=["plateau", "warm-up", "drops", "table"],
)
def test_a_run_that_died_ends_as_if_it_had_not(place, tmp_path, settings, monkeypatch):
    """A checkpoint every 3 steps, and a death every 7."""
    settings = (*settings, "checkpoint.every_steps=3", "checkpoint.keep_epochs=2")
    trained(place, settings, out=f"whole-{tmp_path.name}")
    whole = place / f"whole-{tmp_path.name}"
    deaths, more, out = 0, (), f"died-{tmp_path.name}"
    is_finished = False
    while not is_finished:
        with monkeypatch.context() as patch:
            die_at_step(patch, 8)
            try:
                trained(place, settings, *more, out=out)
                is_finished = True
            except Died:
                deaths, more = deaths + 1, ("--resume",)
    assert deaths >= 2
    assert outcome(place / out) == outcome(whole)
    kept = sorted(path.name for path in (whole / "checkpoints").glob("epoch-*"))
    assert kept == sorted(path.name for path in (place / out / "checkpoints").glob("epoch-*"))
    assert len(kept) == 2
    for name in kept:
        assert_equal(weights_of(place / out, name), weights_of(whole, name))


def test_an_epoch_that_takes_no_step_any_more_says_the_rates_of_its_last(place, monkeypatch):
    settings = (*SASREC, "max_epochs=2", "optimiser.warmup_epochs=2")
    trained(place, settings, out="on")
    signal_at_step(monkeypatch, signal.SIGTERM, STEPS_PER_EPOCH)
    assert attempt(train, *training(place, settings, out="off")).exit_code == 143
    monkeypatch.undo()
    assert not (place / "off/result.json").exists()
    trained(place, settings, "--resume", out="off")
    assert outcome(place / "off") == outcome(place / "on")


def test_a_run_with_plateaus_keeps_its_patience(place):
    settings = (*DROPPING, "max_epochs=2")
    trained(place, settings, out="patient")
    assert trained(place, (*settings, "max_epochs=3"), "--resume", out="patient")["epochs"] == 3
    with pytest.raises(UsageError, match="patience"):
        trained(place, (*settings, "patience=5"), "--resume", out="patient")


def test_a_refit_takes_the_epochs_and_drops_that_lead_to_the_best_weights(place):
    # A decay, so that no two epochs have the same rates.
    settings = (*DROPPING, "max_epochs=30", "seed=2", "optimiser.lr_decay=0.9")
    trained(place, settings, "--refit", "all", out="refitted")
    result = json.loads((place / "refitted/result.json").read_text())
    drop = result["drops"][0]
    refit = json.loads((place / "refitted/refit/result.json").read_text())
    path = [*range(1, drop["from"] + 1), *range(drop["after"] + 1, result["best_epoch"] + 1)]
    assert drop["from"] < drop["after"] < result["best_epoch"]
    rates_of = [line["rates"] for line in lines_of(place / "refitted")]
    refit_rates = [line["rates"] for line in lines_of(place / "refitted/refit")]
    assert refit_rates == [rates_of[epoch - 1] for epoch in path]
    assert refit["epochs"] == len(path)
    again = attempt(train, *training(place, settings, "--resume", "--refit", "all", out="refitted"))
    assert again.exit_code == 0
    assert "epoch" not in again.stderr  # nothing is left to train


def test_an_epoch_that_is_kept_can_be_evaluated(place):
    settings = (*SASREC, "max_epochs=6", "patience=9", "checkpoint.keep_epochs=2")
    result = trained(place, settings, out="kept")
    best = result["best_epoch"]
    kept = [path.name for path in (place / "kept/checkpoints").glob("epoch-*")]
    assert sorted(kept) == ["epoch-5", "epoch-6"]
    lines = lines_of(place / "kept")
    for epoch in {5, 6, best}:
        out = place / f"judged-{epoch}"
        words = (place / "kept", "--epoch", epoch, "--device", "cpu", "--json")
        figures = json.loads(run(evaluate, *words).stdout)
        assert figures["valid"] == lines[epoch - 1]["valid"]
        assert figures["epoch"] == epoch
        run(evaluate, *words, "--out", out)
        recorded = json.loads((out / "result.json").read_text())
        assert recorded["valid"] == lines[epoch - 1]["valid"]
        assert recorded["evaluated"]["epoch"] == epoch
    (other,) = {1, 2, 3} - {best} - {2, 3} or {2}
    with pytest.raises(UsageError, match=f"the best, {best}, and of the last ones 5, 6"):
        run(evaluate, place / "kept", "--epoch", other, "--device", "cpu")


def test_a_run_that_keeps_no_epochs_says_how_to(place):
    trained(place, (*SASREC, "max_epochs=1"), out="none")
    with pytest.raises(UsageError, match="keeps, which are those of the best, 1\n") as refused:
        run(evaluate, place / "none", "--epoch", 9, "--device", "cpu")
    assert "checkpoint.keep_epochs=N" in refused.value.remedy
