"""A run stopped at any step, by a signal, a fault or divergence, ends as if it had never been stopped."""

import json
import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, UsageError
from crossan.train.cli import train
from crossan.train.evaluation import together
from crossan.train.loop import loss_window as losses
from crossan.train.loop.adamw import AdamW
from crossan.train.loop.loss_window import TrainingDivergedError
from crossan.train.objectives import candidates
from crossan.train.objectives.columns import batch_columns
from crossan.train.objectives.in_batch import InBatch
from crossan.train.record.checkpoint import load_checkpoint
from crossan.train.runs import planning
from support.commands import QUICK, attempt, train_in, training
from support.outcomes import outcome
from support.stopping import Died, before_steps, die_at_step, signal_at_step

SETTINGS = (*QUICK, "average_epochs=1", "features.standardise=none", "max_epochs=4")
STEPS_PER_EPOCH = 5  # 150 users, 32 a step


def run_train(place, *more, settings=SETTINGS, out="r"):
    return json.loads(train_in(place, settings, *more, out=out).stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    from support.fabricated import write_small

    place = write_small(tmp_path_factory.mktemp("whole"))
    run_train(place)
    return place


@pytest.fixture
def place(whole, tmp_path):
    """A folder with the same dataset and cache, and what the uninterrupted run came to."""
    for name in ("d", "c"):
        (tmp_path / name).symlink_to(whole / name)
    return tmp_path


@pytest.mark.parametrize("at", [1, 7, STEPS_PER_EPOCH * 2, STEPS_PER_EPOCH * 2 + 1])
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_step_in_hand(place, whole, monkeypatch, at, number, exit_code):
    taken = signal_at_step(monkeypatch, number, at)
    result = attempt(train, *training(place, SETTINGS))
    assert (result.exit_code, len(taken)) == (exit_code, at)
    epoch, step = divmod(at, STEPS_PER_EPOCH)
    expected = (
        f"epoch {epoch + 1}, step {step}" if step else f"epoch {epoch}, step {STEPS_PER_EPOCH}"
    )
    assert f"checkpoint of {expected} written" in result.stderr
    assert f"{number.name}: finishing the step in hand" in result.stderr
    assert not (place / "r" / ".owner").exists()
    monkeypatch.undo()
    assert (
        f"going on after {expected}"
        in attempt(train, *training(place, SETTINGS, "--resume")).stderr
    )
    assert outcome(place / "r") == outcome(whole / "r")


def test_a_signal_during_validation_does_not_wait_for_it(place, whole, monkeypatch):
    real, calls = together.encode_items, []

    def encode(*arguments):
        calls.append(None)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(together, "encode_items", encode)
    result = attempt(train, *training(place, SETTINGS))
    assert result.exit_code == 143
    assert f"checkpoint of epoch 2, step {STEPS_PER_EPOCH} written" in result.stderr
    assert len((place / "r/metrics.jsonl").read_text().splitlines()) == 1
    monkeypatch.undo()
    run_train(place, "--resume")
    assert outcome(place / "r") == outcome(whole / "r")


@pytest.mark.parametrize("every", ["every_steps=1", "every_steps=3", "every_seconds=0"])
def test_when_checkpoints_are_written_changes_nothing(place, whole, every):
    run_train(place, "--set", f"checkpoint.{every}")
    assert outcome(place / "r") == outcome(whole / "r")


@pytest.mark.parametrize("at", [4, 9, 14])
def test_steps_since_the_last_checkpoint_are_taken_again(place, whole, monkeypatch, at):
    die_at_step(monkeypatch, at)
    with pytest.raises(Died):
        run_train(place, "--set", "checkpoint.every_steps=3")
    monkeypatch.undo()
    result = attempt(
        train, *training(place, SETTINGS, "--resume", "--set", "checkpoint.every_steps=4")
    )
    epoch, step = divmod((at - 1) // 3 * 3, STEPS_PER_EPOCH)
    assert f"going on after epoch {epoch + 1}, step {step}" in result.stderr
    assert outcome(place / "r") == outcome(whole / "r")


def test_a_damaged_checkpoint_falls_back_one_and_says_so(place, whole):
    run_train(place, "--set", "checkpoint.every_steps=4")
    (place / "r" / "result.json").unlink()
    path = place / "r" / "checkpoints" / "last" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    result = attempt(train, *training(place, SETTINGS, "--resume"))
    assert "checkpoint last cannot be used, going back to the one before" in result.stderr
    assert "going on after epoch 4, step " in result.stderr
    assert outcome(place / "r") == outcome(whole / "r")


def test_two_damaged_checkpoints_begin_anew_and_say_so(place, whole):
    run_train(place, "--set", "checkpoint.every_steps=4")
    for name in ("last", "previous"):
        (place / "r" / "checkpoints" / name / "state.json").write_text("{}")
    result = attempt(train, *training(place, SETTINGS, "--resume"))
    assert "there is no earlier one, so training begins anew" in result.stderr
    assert outcome(place / "r") == outcome(whole / "r")


def test_a_damaged_best_checkpoint_is_told_before_training_goes_on(place, monkeypatch):
    signal_at_step(monkeypatch, signal.SIGTERM, 12)
    attempt(train, *training(place, SETTINGS))
    best = place / "r" / "checkpoints" / "best" / "model.safetensors"
    best.write_bytes(best.read_bytes()[:-1])
    with pytest.raises(
        StoreIntegrityError,
        match=r"(?s)best epoch, \d, cannot be used.*another folder: --out .*r-2",
    ):
        run_train(place, "--resume")


def test_a_best_checkpoint_that_is_the_newest_is_written_again(place, whole):
    run_train(place, "--set", "max_epochs=1")
    shutil.rmtree(place / "r" / "checkpoints" / "best")
    result = attempt(train, *training(place, SETTINGS, "--resume"))
    assert "the best checkpoint cannot be used, writing it again" in result.stderr
    assert outcome(place / "r") == outcome(whole / "r")


@pytest.mark.parametrize("harm", ["removed", "cut off"])
def test_the_best_checkpoint_of_a_finished_run_is_written_again(place, harm):
    run_train(place, "--set", "max_epochs=1")
    before, best = outcome(place / "r"), place / "r" / "checkpoints" / "best"
    if harm == "removed":
        shutil.rmtree(best)
    else:
        (best / "model.safetensors").write_bytes((best / "model.safetensors").read_bytes()[:-1])
    result = attempt(train, *training(place, SETTINGS, "--resume", "--set", "max_epochs=1"))
    assert result.exit_code == 0, result.output
    assert "the best checkpoint cannot be used, writing it again" in result.stderr
    assert outcome(place / "r") == before
    assert load_checkpoint(place / "r/checkpoints", "best").state["epoch"] == 1


def test_best_weights_of_another_epoch_are_not_taken_for_them(place):
    run_train(place)
    shutil.copytree(place / "r", place / "other")
    run_train(place, out="short", settings=(*SETTINGS[:-1], "max_epochs=1"))
    shutil.rmtree(place / "other/checkpoints/best")
    shutil.copytree(place / "short/checkpoints/best", place / "other/checkpoints/best")
    with pytest.raises(
        StoreIntegrityError,
        match=r"expected the weights of epoch \d in checkpoints/best, found those of epoch 1",
    ):
        run_train(place, "--resume", out="other")


def test_another_spec_is_refused_and_named(place, monkeypatch):
    run_train(place)
    recorded = json.loads((place / "r/env.json").read_text())["spec"]
    assert {
        "threads",
        "compute_dtype",
        "device",
        "device_name",
        "torch",
        "numpy",
        "crossan",
    } <= set(recorded)
    other = recorded | {"threads": 64, "torch": "1.0"}
    monkeypatch.setattr(planning, "current_spec", lambda *facts: other)
    expected = rf"(?s)trained on another spec.*\n  threads: {recorded['threads']} then, 64 now\n  torch: .* then, 1.0 now"
    with pytest.raises(IncompatibleError, match=expected) as refused:
        run_train(place, "--resume")
    assert refused.value.exit_code == 5
    assert json.loads((place / "r/env.json").read_text())["spec"] == recorded
    result = attempt(train, *training(place, SETTINGS, "--resume", "--allow-other-spec"))
    assert result.exit_code == 0
    assert "going on with another spec" in result.stderr
    environment = json.loads((place / "r/env.json").read_text())
    assert (environment["spec"], environment["earlier"]) == (other, [recorded])


def test_training_uses_only_kernels_that_repeat(place, monkeypatch):
    seen = []
    before_steps(monkeypatch, lambda: seen.append(torch.are_deterministic_algorithms_enabled()))
    run_train(place)
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_loss_that_is_no_number_stops_naming_step_and_items(place):
    too_fast = (*SETTINGS, "optimiser.lr=1e30", "optimiser.adapter_lr=1e30")
    with pytest.raises(
        TrainingDivergedError, match=r"the loss became (nan|inf) in epoch 1, step 2 \(\d+ items: i"
    ) as stop:
        run_train(place, settings=too_fast)
    assert stop.value.exit_code == 1
    assert "there was no checkpoint yet" in stop.value.message


def poison_at_step(monkeypatch, at, what):
    """Make the loss, or the weights after the step, NaN from the given step of the run on."""
    taken, prepare, step_of = [], InBatch.prepare, AdamW.step

    def prepared(self, features, sequences):
        loss_of = prepare(self, features, sequences)
        # A loss that is NaN with gradients that are not: what diverged is told by the loss alone.
        poison = float("nan") if what == "loss" else 0.0
        return lambda model: loss_of(model) + (poison if len(taken) >= at else 0.0)

    def take(optimiser):
        step_of(optimiser)
        if what == "weights" and len(taken) == at:
            optimiser.param_groups[-1]["params"][0].data.view(-1)[0] = float("nan")

    monkeypatch.setattr(InBatch, "prepare", prepared)
    monkeypatch.setattr(AdamW, "step", take)
    before_steps(monkeypatch, lambda: taken.append(None))


@pytest.mark.parametrize("window", [1, 3, 50])
def test_the_batch_that_diverged_is_named_however_rarely_losses_are_read(
    place, whole, monkeypatch, window
):
    monkeypatch.setattr(losses, "_STEPS_PER_WINDOW", window)
    poison_at_step(monkeypatch, STEPS_PER_EPOCH + 2, "loss")
    with pytest.raises(
        TrainingDivergedError,
        match=r"the loss became nan in epoch 2, step 2 .*checkpoint of epoch 1, step 5 is kept",
    ):
        run_train(place, "--set", "checkpoint.every_steps=5")
    recorded = json.loads((place / "r/divergence.json").read_text())
    assert (recorded["epoch"], recorded["step"]) == (2, 2)
    monkeypatch.undo()
    seen = []
    monkeypatch.setattr(
        candidates, "batch_columns", lambda rows: seen.append(rows) or batch_columns(rows)
    )
    run_train(place, "--resume")
    assert outcome(place / "r") == outcome(
        whole / "r"
    )  # the checkpoint that was kept holds no trace of it
    assert not (place / "r/divergence.json").exists()
    rows = seen[1]  # the resumed run's second step is the poisoned one
    names = sorted(f"i{topic}{item}" for topic in range(4) for item in range(10))
    assert recorded["items"] == [names[row] for row in sorted(set(rows[rows >= 0].tolist()))]


def test_weights_that_are_no_numbers_are_never_saved(place, monkeypatch):
    poison_at_step(monkeypatch, STEPS_PER_EPOCH + 2, "weights")
    with pytest.raises(
        TrainingDivergedError,
        match=r"(the loss became nan|the weights are no longer finite) in epoch 2",
    ):
        run_train(place, "--set", "checkpoint.every_steps=1")
    for name in ("last", "previous"):
        tensors = load_file(place / "r/checkpoints" / name / "model.safetensors")
        assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_settings_are_compared_by_their_full_names(place):
    run_train(place)
    with pytest.raises(UsageError, match=r"\n  model\.dropout: 0\.2 there, 0\.3 asked\n  Leave"):
        run_train(place, "--resume", "--set", "model.dropout=0.3")
