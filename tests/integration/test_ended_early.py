"""A training that is ended early by hand, from the command to its result."""

import json
from functools import partial

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.cli import train, train_end
from crossan.train.record import ending
from crossan.train.runs import training as runs
from support.commands import attempt, run, train_in, training
from support.outcomes import outcome, unmeasured, unmeasured_bytes
from support.stopping import at_step, before_steps

SASREC = ("model.kind=sasrec", "model.width=8", "optimiser.lr=0.02", "batch_size=32")
STEPS_PER_EPOCH = 5  # 150 users, 32 a step


def trained(place, settings, *more, out="r"):
    return json.loads(train_in(place, settings, *more, out=out).stdout.splitlines()[-1])


def lines_of(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("at", [2, STEPS_PER_EPOCH + 3, 2 * STEPS_PER_EPOCH])
def test_a_training_that_is_asked_to_end_evaluates_its_best_epoch(place, tmp_path, monkeypatch, at):
    settings = (*SASREC, "max_epochs=4", "patience=9")
    out = f"ended-{at}"
    monkeypatch.setattr(ending, "_SECONDS_BETWEEN_LOOKS", 0.0)
    said = []
    before_steps(monkeypatch, at_step(at, lambda: said.append(run(train_end, place / out).stdout)))
    result = attempt(train, *training(place, settings, out=out))
    assert result.exit_code == 0, result.output
    assert said[0].endswith("end-here written: the training ends and evaluates its best epoch\n")
    figures = json.loads((place / out / "result.json").read_text())
    epochs = max(1, (at - 1) // STEPS_PER_EPOCH)  # the first is finished in any case
    assert (figures["epochs"], figures["stopped_by"]) == (epochs, "ended")
    assert f"end-here asks for the end: evaluating epoch {figures['best_epoch']}" in result.stderr
    assert f"crossan train-end {place / out} --go-on" in result.stderr
    assert figures["valid"] == lines_of(place / out)[figures["best_epoch"] - 1]["valid"]
    # It stays ended, and nothing is evaluated in vain.
    monkeypatch.undo()
    again = trained(place, settings, "--resume", out=out)
    assert unmeasured(again) == unmeasured(figures)
    # Let go on, it ends as if nobody had asked.
    run(train_end, place / out, "--go-on")
    trained(place, settings, "--resume", out=out)
    trained(place, settings, out=f"whole-{at}")
    assert outcome(place / out) == outcome(place / f"whole-{at}")


def test_a_finished_run_has_nothing_to_end(place):
    trained(place, (*SASREC, "max_epochs=1"), out="over")
    assert "nothing trains there" in run(train_end, place / "over").stdout
    assert not (place / "over" / ending.END_FILE).exists()
    assert json.loads(run(train_end, place / "over", "--json").stdout) == {
        "run": str(place / "over"),
        "asks_for_end": False,
        "is_finished": True,
        "is_training": False,
    }
    with pytest.raises(UsageError, match="no run at"):
        run(train_end, place / "nowhere")


def test_a_refit_is_not_ended(place):
    trained(place, (*SASREC, "max_epochs=1"), "--refit", "all", out="whole-refit")
    with pytest.raises(UsageError, match="found a refit"):
        run(train_end, place / "whole-refit/refit")


def test_an_end_in_the_last_epoch_changes_nothing(place, monkeypatch):
    end = partial(run, train_end, place / "late")
    monkeypatch.setattr(runs, "fit", partial(runs.fit, on_step=at_step(STEPS_PER_EPOCH, end)))
    monkeypatch.setattr(ending, "_SECONDS_BETWEEN_LOOKS", 0.0)
    assert trained(place, (*SASREC, "max_epochs=1"), out="late")["stopped_by"] == "max_epochs"
    first = unmeasured_bytes(place / "late/metrics.jsonl")
    monkeypatch.undo()
    trained(place, (*SASREC, "max_epochs=1"), out="early")
    assert unmeasured_bytes(place / "early/metrics.jsonl") == first
