"""The weights of the last epochs: whole, and no more of them than were asked for."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest
import torch

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.train.record.checkpoint import Checkpoint, save_checkpoint, settle
from crossan.train.record.kept_epochs import keep_epoch, kept_epochs, load_epoch
from support.killing import Killed, die_at

CALLS = ((os, "fsync"), (Path, "rename"), (Path, "mkdir"), (shutil, "rmtree"), (os, "unlink"))


def of_epoch(epoch):
    return Checkpoint({"model": {"w": torch.full((2,), float(epoch))}}, {"epoch": epoch})


def keep(run, epoch, count=2):
    keep_epoch(run / "checkpoints", epoch, of_epoch(epoch), count)


def weight_of(run, epoch):
    return load_epoch(run, epoch).tensors["model"]["w"][0].item()


def test_the_last_ones_are_kept(tmp_path):
    for epoch in (1, 2, 9, 10):
        keep(tmp_path, epoch)
    assert kept_epochs(tmp_path / "checkpoints") == [9, 10]
    assert [weight_of(tmp_path, epoch) for epoch in (9, 10)] == [9.0, 10.0]


def test_an_epoch_that_is_taken_again_takes_its_place(tmp_path):
    for epoch in (1, 2, 3, 2, 3):
        keep(tmp_path, epoch)
    assert kept_epochs(tmp_path / "checkpoints") == [2, 3]


def test_the_best_is_known_by_its_epoch_too(tmp_path):
    save_checkpoint(tmp_path / "checkpoints", "best", of_epoch(1))
    keep(tmp_path, 5)
    assert weight_of(tmp_path, 1) == 1.0
    with pytest.raises(UsageError, match="which are those of the best, 1, and of the last ones 5"):
        load_epoch(tmp_path, 4)


def test_a_run_without_an_epoch_has_none_to_open(tmp_path):
    with pytest.raises(UsageError, match="--epoch 4: expected a run with a checkpoint") as refused:
        load_epoch(tmp_path, 4)
    assert refused.value.remedy == f"crossan-train --out {tmp_path} --resume"


def test_damage_is_seen(tmp_path):
    keep(tmp_path, 1)
    (tmp_path / "checkpoints/epoch-1/model.safetensors").write_bytes(b"")
    with pytest.raises(StoreIntegrityError, match="not those that were written"):
        load_epoch(tmp_path, 1)


def test_a_kill_at_any_moment_leaves_whole_epochs(tmp_path):
    countdown, was_killed, seen = 0, True, set()
    while was_killed:
        countdown += 1
        run = tmp_path / str(countdown)
        for epoch in (1, 2):
            keep(run, epoch)
        with pytest.MonkeyPatch.context() as patch:
            left = die_at(patch, countdown, CALLS)
            with contextlib.suppress(Killed):
                keep(run, 3)
            was_killed = left[0] <= 0
        kept = kept_epochs(run / "checkpoints")
        seen.add(tuple(kept))
        assert [weight_of(run, epoch) for epoch in kept] == kept
        settle(run / "checkpoints")
        keep(run, 3)
        names = sorted(path.name for path in (run / "checkpoints").iterdir())
        assert names == ["epoch-2", "epoch-3"]
    assert seen == {(1, 2), (1, 2, 3), (2, 3)}
