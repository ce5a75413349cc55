"""A drop goes back to the best weights, also where a kill left the best of a later epoch."""

import json

import pytest

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.train.record.checkpoint import NEWEST, load_checkpoint, save_checkpoint
from crossan.train.record.run_folder import RunFolder
from support.commands import SASREC_BY_EPOCH, train_in
from support.fabricated import write_small
from support.outcomes import outcome
from support.stopping import Died, die_at_step

STEPS_PER_EPOCH = 5  # 150 users, 32 a step
# Of seed 2 an epoch after the drop is the best one.
DROPPING = (*SASREC_BY_EPOCH, "patience=2", "optimiser.plateau_drops=1", "max_epochs=30", "seed=2")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("killed"))


@pytest.fixture(scope="module")
def whole(place):
    train_in(place, DROPPING, out="whole")
    result = json.loads((place / "whole/result.json").read_text())
    assert result["best_epoch"] > result["drops"][0]["after"]
    return result


def train_until_before_the_drop(place, monkeypatch, whole, out):
    """Have a checkpoint, and none later, of the step after the epoch that the drop goes back to."""
    taken = whole["drops"][0]["from"] * STEPS_PER_EPOCH + 1
    with monkeypatch.context() as patch:
        die_at_step(patch, taken + 1)
        with pytest.raises(Died):
            train_in(place, (*DROPPING, f"checkpoint.every_steps={taken}"), out=out)


def test_a_kill_between_the_best_and_the_newest_checkpoint_changes_nothing(
    place, whole, monkeypatch
):
    train_until_before_the_drop(place, monkeypatch, whole, "killed")
    save = RunFolder.save_checkpoint

    def die_before_the_last(folder, name, checkpoint):
        progress = checkpoint.state.get("progress", {})
        if name == NEWEST and progress["best_epoch"] == whole["best_epoch"]:
            raise Died
        save(folder, name, checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_checkpoint", die_before_the_last)
        with pytest.raises(Died):
            train_in(place, DROPPING, "--resume", out="killed")
    best = load_checkpoint(place / "killed/checkpoints", "best")
    assert best.state["epoch"] == whole["best_epoch"]
    train_in(place, DROPPING, "--resume", out="killed")
    assert outcome(place / "killed") == outcome(place / "whole")


def test_a_best_checkpoint_of_another_epoch_is_not_gone_back_to(place, whole, monkeypatch):
    train_until_before_the_drop(place, monkeypatch, whole, "another")
    checkpoints = place / "another/checkpoints"
    save_checkpoint(checkpoints, "best", load_checkpoint(place / "whole/checkpoints", "best"))
    went_back_to, later = whole["drops"][0]["from"], whole["best_epoch"]
    with pytest.raises(
        StoreIntegrityError, match=f"expected epoch {went_back_to} .* found epoch {later}"
    ) as refused:
        train_in(place, DROPPING, "--resume", out="another")
    assert "--out" in refused.value.remedy
