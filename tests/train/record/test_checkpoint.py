"""Checkpoints: whole or not there, and never the wrong bytes."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.train.loop.optimiser_state import optimiser_tensors, restore_optimiser
from crossan.train.record import checkpoint as module
from crossan.train.record.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_newest,
    load_weights,
    save_checkpoint,
    settle,
)
from support.killing import Killed, die_at


def numbered(number):
    weights = {"w": torch.full((3, 2), float(number)), "b": torch.arange(number + 1)}
    return Checkpoint(
        {"model": weights, "random": {"cpu": torch.get_rng_state()}},
        {"progress": {"epoch": number}},
    )


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(module, "note", lines.append)
    return lines


def test_what_was_saved_is_loaded(tmp_path, said):
    save_checkpoint(tmp_path, "last", numbered(1))
    found = load_newest(tmp_path)
    assert found.state == {"progress": {"epoch": 1}}
    assert all(
        torch.equal(found.tensors["model"][key], numbered(1).tensors["model"][key])
        for key in ("w", "b")
    )
    assert found.tensors["random"]["cpu"].dtype == torch.uint8
    assert said == []


def test_the_last_two_are_kept(tmp_path):
    for number in (1, 2, 3):
        save_checkpoint(tmp_path, "last", numbered(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "previous"]
    assert load_checkpoint(tmp_path, "last").state["progress"]["epoch"] == 3
    assert load_checkpoint(tmp_path, "previous").state["progress"]["epoch"] == 2


def test_the_state_file_holds_the_sha256_of_every_file(tmp_path):
    save_checkpoint(tmp_path, "best", numbered(1))
    state = json.loads((tmp_path / "best/state.json").read_text())
    assert set(state["sha256"]) == {path.name for path in (tmp_path / "best").iterdir()} - {
        "state.json"
    }


def test_no_checkpoint_is_none(tmp_path, said):
    assert load_newest(tmp_path) is None
    assert said == []


def test_a_damaged_newest_goes_back_one_and_two_damaged_ones_to_the_beginning(tmp_path, said):
    for number in (1, 2):
        save_checkpoint(tmp_path, "last", numbered(number))
    (tmp_path / "last/model.safetensors").write_bytes(b"")
    assert load_newest(tmp_path).state["progress"]["epoch"] == 1
    assert "checkpoint last cannot be used, going back to the one before" in said.pop()
    (tmp_path / "previous/state.json").write_text("{}")
    assert load_newest(tmp_path) is None
    assert "checkpoint last cannot be used, going back to the one before" in said[0]
    assert (
        "checkpoint previous cannot be used, and there is no earlier one, so training begins anew"
        in said[1]
    )


def test_a_newest_that_is_gone_is_said(tmp_path, said):
    for number in (1, 2):
        save_checkpoint(tmp_path, "last", numbered(number))
    shutil.rmtree(tmp_path / "last")
    assert load_newest(tmp_path).state["progress"]["epoch"] == 1
    assert "checkpoint last is missing, going back to the one before" in said[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"epoch": 1', '"epoch": 2'),
        lambda text: text.replace(
            '"epoch": 1', '"epoch":  1'
        ),  # says the same, and is not what was written
        lambda text: text.replace('"digest"', '"digesT"'),
        lambda text: text + " ",
        lambda text: "[]",
        lambda text: "[" * 100_000,
    ],
)
def test_a_state_file_with_another_byte_is_refused(tmp_path, change):
    save_checkpoint(tmp_path, "last", numbered(1))
    path = tmp_path / "last/state.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(StoreIntegrityError, match=r"state\.json is not the one that was written"):
        load_checkpoint(tmp_path, "last")


CALLS = ((os, "fsync"), (Path, "rename"), (Path, "mkdir"), (shutil, "rmtree"), (os, "unlink"))


@pytest.mark.parametrize("name", ["last", "best"])
def test_a_kill_at_any_moment_leaves_the_old_one_or_the_new_one(tmp_path, name, said):
    seen, countdown, was_killed = set(), 0, True
    while was_killed:
        countdown += 1
        folder = tmp_path / str(countdown)
        for number in (1, 2):
            save_checkpoint(folder, name, numbered(number))
        with pytest.MonkeyPatch.context() as patch:
            left = die_at(patch, countdown, CALLS)
            with contextlib.suppress(Killed):
                save_checkpoint(folder, name, numbered(3))
            was_killed = left[0] <= 0
        epoch = load_checkpoint(folder, name).state["progress"][
            "epoch"
        ]  # as a reader finds it, before anyone tidies up
        assert epoch in (2, 3)
        seen.add(epoch)
        settle(folder)
        assert load_checkpoint(folder, name).state["progress"]["epoch"] in (epoch, 3)
        if name == "last":
            assert load_newest(folder).state["progress"]["epoch"] >= 2
            assert load_checkpoint(folder, "previous").state["progress"]["epoch"] in (1, 2)
        save_checkpoint(folder, name, numbered(4))
        assert load_checkpoint(folder, name).state["progress"]["epoch"] == 4
        assert not [
            path
            for path in folder.iterdir()
            if path.name.startswith(".") or path.name.endswith("-next")
        ]
    assert countdown > 8
    assert seen == {2, 3}
    assert said == []


def test_a_reader_that_meets_a_newer_one_reads_that(tmp_path, monkeypatch):
    """The folder is exchanged after its state file was read: the old digests do not fit the new weights."""
    save_checkpoint(tmp_path, "best", numbered(1))
    real, calls = module._decode_state, []

    def decode(data, place):
        calls.append(place)
        if len(calls) == 1:
            save_checkpoint(tmp_path, "best", numbered(2))
        return real(data, place)

    monkeypatch.setattr(module, "_decode_state", decode)
    found = load_checkpoint(tmp_path, "best")
    assert found.state["progress"]["epoch"] == 2
    assert found.tensors["model"]["w"][0, 0].item() == 2.0
    assert len(calls) == 2


def test_weights_of_another_shape_are_named():
    model = nn.Linear(2, 3)
    with pytest.raises(
        IncompatibleError,
        match=r"(?s)runs/x: its weights do not fit this model, 2 of 2 differ\n  bias: expected \(3,\), found none\n  weight: expected \(3, 2\), found \(2, 2\)",
    ):
        load_weights(model, {"weight": torch.zeros(2, 2)}, "runs/x")
    load_weights(model, {"weight": torch.ones(3, 2), "bias": torch.ones(3)}, "runs/x")
    assert model.weight.sum().item() == 6


def test_an_optimiser_put_back_takes_the_same_step():
    def make(seed):
        torch.manual_seed(seed)
        model = nn.Linear(4, 4)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)

    def step(model, optimiser, seed):
        torch.manual_seed(seed)
        optimiser.zero_grad()
        model(torch.randn(3, 4)).square().sum().backward()
        optimiser.step()

    model, optimiser = make(0)
    step(model, optimiser, 1)
    other, restored = make(5)
    other.load_state_dict(model.state_dict())
    restore_optimiser(
        restored, {name: tensor.clone() for name, tensor in optimiser_tensors(optimiser).items()}
    )
    step(model, optimiser, 2)
    step(other, restored, 2)
    assert torch.equal(model.weight, other.weight)
