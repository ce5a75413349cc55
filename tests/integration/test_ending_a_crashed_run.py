"""`crossan train-end` where the process that trained has died."""

import json

import pytest

from crossan.common.claim import OWNER_FILE
from crossan.common.owners import our_token
from crossan.train.cli import train, train_end
from support.commands import run, train_in
from support.fabricated import write_small
from support.stopping import Died, die_at_step

SETTINGS = ("model.kind=sasrec", "model.width=8", "batch_size=32", "max_epochs=4")
STEPS_PER_EPOCH = 5  # 150 users, 32 a step


def test_it_says_that_nobody_trains_there_and_how_the_run_is_resumed(tmp_path, monkeypatch):
    place = write_small(tmp_path)
    folder = place / "r"
    die_at_step(monkeypatch, STEPS_PER_EPOCH + 3)
    with pytest.raises(Died):
        train_in(place, SETTINGS)
    monkeypatch.undo()
    # A killed process leaves the folder claimed; no process of this number began at this time.
    name, process_id, start = our_token().split("-")
    (folder / OWNER_FILE).write_text(f"{name}-{process_id}-{int(start) + 1}")
    said = run(train_end, folder).stdout
    resume = f"crossan-train --config {folder}/config.toml --out {folder} --resume"
    assert "nobody is training there now" in said
    assert resume in said
    asked = json.loads(run(train_end, folder, "--json").stdout)
    assert (asked["asks_for_end"], asked["is_training"]) == (True, False)
    run(train, *resume.split()[1:], "--device", "cpu")
    result = json.loads((folder / "result.json").read_text())
    assert (result["stopped_by"], result["epochs"]) == ("ended", 1)


def test_to_a_run_that_another_process_trains_it_says_that_the_training_ends(tmp_path, monkeypatch):
    place = write_small(tmp_path)
    die_at_step(monkeypatch, STEPS_PER_EPOCH + 3)
    with pytest.raises(Died):
        train_in(place, SETTINGS)
    monkeypatch.undo()
    (place / "r" / OWNER_FILE).write_text(our_token())
    assert run(train_end, place / "r").stdout.endswith(
        "end-here written: the training ends and evaluates its best epoch\n"
    )
    assert json.loads(run(train_end, place / "r", "--json").stdout)["is_training"] is True
