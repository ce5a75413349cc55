"""A chunk that changes while a training runs: refused where it is read, without effect where it is in memory."""

import os
import re

import pytest

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.common.stores import stored_rows
from crossan.train.features import StoredStates
from crossan.train.loop import trainer
from crossan.train.record.run_folder import RunFolder
from support.commands import train_in
from support.outcomes import outcome

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "batch_size=16",
    "max_epochs=2",
    "checkpoint.every_steps=4",
)
FIRST, SECOND = 10, 12
"""The last step of the first epoch, and one of the second and last."""
LAST = 20


def train(place, *more, out):
    return train_in(place, SETTINGS, *more, out=out)


@pytest.fixture(scope="module")
def whole(place):
    """What a run comes to that nothing happens to."""
    train(place, out="whole")
    return outcome(place / "whole")


@pytest.fixture(scope="module")
def least(place):
    """Bytes of RAM that leave all hidden states in the stores."""
    with pytest.raises(UsageError, match="need") as raised:
        train(place, "--residence", "streamed", "--max-ram", 1, out="never")
    return int(re.search(r"\(([\d,]+) bytes\)", raised.value.message)[1].replace(",", ""))


def chunks_of(place):
    return sorted((place / "c").glob("small/*/*/segments/*/hidden_states/c/*/0/0"))


def flip(chunk):
    """Flip the same bit of every byte, in place."""
    data = bytes(byte ^ 0x20 for byte in chunk.read_bytes())
    with chunk.open("r+b") as file:
        file.write(data)


def replace(chunk):
    """Put a damaged file in its place, with the times of the old one."""
    status, damaged = chunk.stat(), chunk.with_name("new")
    damaged.write_bytes(bytes(chunk.stat().st_size))
    os.utime(damaged, ns=(status.st_atime_ns, status.st_mtime_ns))
    damaged.replace(chunk)


def cut(chunk):
    os.truncate(chunk, 64)


@pytest.fixture
def damaged_at(place, monkeypatch):
    """Return a function that has all chunks damaged before a step of the training."""
    kept = {chunk: chunk.read_bytes() for chunk in chunks_of(place)}
    fit = trainer.fit

    def at(step, damage):
        taken = []

        def on_step():
            taken.append(1)
            if len(taken) == step:
                for chunk in kept:
                    damage(chunk)

        monkeypatch.setattr(
            "crossan.train.runs.training.fit",
            lambda run, ranks, on_epoch, recorder: fit(run, ranks, on_step, on_epoch, recorder),
        )

    def heal():
        monkeypatch.undo()
        for chunk, data in kept.items():
            chunk.write_bytes(data)

    at.heal = heal
    yield at
    heal()


@pytest.mark.parametrize("damage", [flip, replace, cut])
def test_a_streamed_training_stops_and_goes_on_to_the_same_end(
    place, whole, least, damaged_at, tmp_path, monkeypatch, damage
):
    monkeypatch.setattr(StoredStates, "recheck", lambda _, **how: iter(()))  # the rows alone tell
    streamed = ("--residence", "streamed", "--max-ram", least)
    damaged_at(SECOND, damage)
    with pytest.raises(StoreIntegrityError) as raised:
        train(place, *streamed, out=tmp_path / "r")
    assert any(str(chunk) in raised.value.message for chunk in chunks_of(place))
    assert "crossan cache fsck" in raised.value.remedy
    assert not (tmp_path / "r" / "result.json").exists()
    damaged_at.heal()
    train(place, *streamed, "--resume", out=tmp_path / "r")
    assert outcome(tmp_path / "r") == whole


@pytest.mark.parametrize(("step", "epochs"), [(FIRST, 0), (LAST, 1)])
def test_rot_in_rows_that_training_does_not_read_stops_it_within_the_epoch(
    place, whole, damaged_at, tmp_path, step, epochs
):
    """All rows are kept in RAM here, so that only the comparison in the background reads chunks."""
    damaged_at(step, flip)
    with pytest.raises(StoreIntegrityError, match="items lie in it"):
        train(place, "--residence", "streamed", out=tmp_path / "r")
    assert len(RunFolder(tmp_path / "r").metrics()) == epochs
    damaged_at.heal()
    train(place, "--residence", "streamed", "--resume", out=tmp_path / "r")
    assert outcome(tmp_path / "r") == whole


@pytest.mark.parametrize(("residence", "damage"), [("device", flip), ("host", cut)])
def test_what_is_in_memory_is_what_was_checked(
    place, whole, damaged_at, tmp_path, residence, damage
):
    damaged_at(FIRST, damage)
    train(place, "--residence", residence, out=tmp_path / "r")
    assert outcome(tmp_path / "r") == whole


@pytest.mark.parametrize(("residence", "epochs"), [("streamed", 2), ("device", 0)])
def test_each_epoch_compares_every_chunk_once_where_they_are_read(
    place, tmp_path, monkeypatch, residence, epochs
):
    compared, read_checked = [], stored_rows.read_checked
    monkeypatch.setattr(
        stored_rows,
        "read_checked",
        lambda chunk, file: compared.append(chunk.path) or read_checked(chunk, file),
    )
    train(place, "--residence", residence, out=tmp_path / "r")
    assert sorted(compared) == sorted(chunks_of(place) * epochs)
