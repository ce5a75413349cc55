"""A checkpoint with any byte changed is noticed, and never trained on.

``CROSSAN_FAULTS=full`` damages 1,000 checkpoints and flips every bit of a state file; otherwise 60 and each 97th.
"""

from __future__ import annotations

import os
import random

import pytest
import torch

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.train.loop.optimiser_state import optimiser_tensors
from crossan.train.record import checkpoint as module
from crossan.train.record.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_newest,
    save_checkpoint,
)

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
DAMAGES, EVERY_BIT = (1_000, 1) if IS_FULL else (60, 97)


@pytest.fixture
def checkpoints(tmp_path):
    """Two checkpoints of a small model, its optimiser and its random state."""
    for number in (1, 2):
        torch.manual_seed(number)
        model = torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.Linear(20, 3))
        optimiser = torch.optim.AdamW(model.parameters(), fused=True)
        model(torch.randn(5, 12)).sum().backward()
        optimiser.step()
        tensors = {
            "model": model.state_dict(),
            "optimiser": optimiser_tensors(optimiser),
            "random": {"cpu": torch.get_rng_state()},
        }
        progress = {
            "epoch": number,
            "step": 17,
            "loss_sum": 1.5 * number,
            "best_epoch": 1,
            "best_hr": 0.125,
        }
        save_checkpoint(tmp_path, "last", Checkpoint(tensors, {"progress": progress}))
    return tmp_path


def damage(chance, path, folder):
    """Return other bytes for a file, None for none at all."""
    data = path.read_bytes()
    kind = chance.choice(
        ["flipped", "flipped", "cut", "emptied", "extended", "older", "exchanged", "zeroed", "gone"]
    )
    if kind == "flipped":
        bit = chance.randrange(8 * len(data))
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)
    if kind == "older":
        return (folder / "previous" / path.name).read_bytes()
    if kind == "exchanged":
        return chance.choice(
            [other for other in path.parent.iterdir() if other != path]
        ).read_bytes()
    return {
        "cut": data[: chance.randrange(len(data))],
        "emptied": b"",
        "extended": data + chance.randbytes(chance.randint(1, 100)),
        "zeroed": bytes(len(data)),
        "gone": None,
    }[kind]


def check_noticed(folder, said):
    said.clear()
    with pytest.raises(StoreIntegrityError):
        load_checkpoint(folder, "last")
    assert load_newest(folder).state["progress"]["epoch"] == 1
    assert len(said) == 1
    assert "checkpoint last cannot be used, going back to the one before" in said[0]


@pytest.mark.timeout(3600)
def test_every_damage_is_noticed(checkpoints, monkeypatch):
    said, chance, seen = [], random.Random(0), set()
    monkeypatch.setattr(module, "note", said.append)
    files = sorted((checkpoints / "last").iterdir())
    for _ in range(DAMAGES):
        path = chance.choice(files)
        whole, other = path.read_bytes(), damage(chance, path, checkpoints)
        if other == whole:  # the older state of a file that did not change
            continue
        seen.add(path.name)
        if other is None:
            path.unlink()
        else:
            path.write_bytes(other)
        # A whole older state file is refused too: what it lists is not what lies beside it.
        check_noticed(checkpoints, said)
        path.write_bytes(whole)
    assert seen == {
        "model.safetensors",
        "optimiser.safetensors",
        "random.safetensors",
        "state.json",
    }
    assert load_newest(checkpoints).state["progress"]["epoch"] == 2


def test_every_bit_of_the_state_file_counts(checkpoints, monkeypatch):
    said = []
    monkeypatch.setattr(module, "note", said.append)
    path = checkpoints / "last" / "state.json"
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), EVERY_BIT):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        check_noticed(checkpoints, said)
