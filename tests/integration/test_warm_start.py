"""crossan-train --init: yesterday's weights on today's users and items, or a refusal that says why not."""

import json

import pytest
import torch
from safetensors.torch import load_file

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import RunSettings
from crossan.train.settings.meaning import differing_facts
from support.commands import train_in
from support.fabricated import make_sequences, write_rows, write_small, write_store
from support.stopping import Died, die_at_step

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.lr=0.01",
    "batch_size=32",
    "max_epochs=2",
)
ITEMS = [f"i{topic}{item}" for topic in range(4) for item in range(10)]
NEW_ITEMS = ["i010", "i110", "i210", "i310"]


def run_train(place, *more, out="r"):
    return json.loads(train_in(place, SETTINGS, *more, out=out).stdout.splitlines()[-1])


def weights(run, name):
    return load_file(run / "checkpoints" / name / "model.safetensors")


@pytest.fixture(scope="module")
def yesterday(tmp_path_factory):
    place = write_small(tmp_path_factory.mktemp("yesterday"))
    run_train(place)
    return place


@pytest.fixture
def today(tmp_path):
    """More users, and four items that nobody had yesterday."""
    rows = make_sequences()
    for user in range(20):
        topic = user % 4
        known = [f"i{topic}{item}" for item in range(4)]
        rows += [
            (f"v{user:03d}", item, time) for time, item in enumerate([*known, NEW_ITEMS[topic]])
        ]
    write_rows(tmp_path / "d", rows, items=[*ITEMS, *NEW_ITEMS])
    write_store(tmp_path / "c", Modality.TEXT, items=[*ITEMS, *NEW_ITEMS])
    write_store(tmp_path / "c", Modality.IMAGE, items=[*ITEMS, *NEW_ITEMS], absent={"i00", "i15"})
    return tmp_path


def test_training_begins_from_the_best_weights_of_the_other_run(today, yesterday, monkeypatch):
    die_at_step(monkeypatch, 1)
    with pytest.raises(Died):
        run_train(today, "--init", yesterday / "r")
    theirs, ours = weights(yesterday / "r", "best"), weights(today / "r", "last")
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_new_users_and_items_are_no_obstacle_and_the_origin_is_recorded(today, yesterday):
    result = run_train(today, "--init", yesterday / "r")
    assert (result["users"], result["items"]) == (170, 44)
    initial = json.loads((today / "r" / "init.json").read_text())
    state = json.loads((yesterday / "r/checkpoints/best/state.json").read_text())
    assert initial == {
        "run": str(yesterday / "r"),
        "epoch": state["epoch"],
        "sha256": state["sha256"]["model.safetensors"],
    }
    assert result["init"] == initial
    assert f'init = "{yesterday / "r"}"' in (today / "r/config.toml").read_text()
    begun = json.loads((today / "r/metrics.jsonl").read_text().splitlines()[0])["loss"]
    run_train(today, out="cold")
    assert begun < json.loads((today / "cold/metrics.jsonl").read_text().splitlines()[0])["loss"]


def test_a_resumed_run_needs_the_other_no_more(today, yesterday, monkeypatch, tmp_path):
    other = tmp_path / "other"
    run_train(today, "--init", yesterday / "r", out="whole")
    (yesterday / "r").rename(other)
    try:
        with pytest.raises(UsageError, match="no run at"):
            run_train(today, "--init", yesterday / "r")
        other.rename(yesterday / "r")
        with monkeypatch.context() as patch:
            die_at_step(patch, 1)
            with pytest.raises(Died):
                run_train(today, "--init", yesterday / "r")
        (yesterday / "r").rename(other)
        resumed = run_train(today, "--init", yesterday / "r", "--resume")
    finally:
        if other.exists():
            other.rename(yesterday / "r")
    whole = json.loads((today / "whole" / "result.json").read_text())
    for key in ("valid", "test", "best_epoch", "init"):
        assert resumed[key] == whole[key]


def killed(self, name, checkpoint):
    raise Died


def test_weights_that_changed_before_the_first_checkpoint_are_refused(
    today, yesterday, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_checkpoint", killed)
        with pytest.raises(Died):
            run_train(today, "--init", yesterday / "r")
    path = today / "r" / "init.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": "0" * 64}))
    with pytest.raises(IncompatibleError, match="was begun from the weights 000000000000 of epoch"):
        run_train(today, "--init", yesterday / "r", "--resume")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--set", "model.width=32"), r"\n  model.width: 16 in that run, 32 in this one"),
        (
            ("--set", "model.layers=[1]"),
            r"\n  text, kept layers: 0, 1 in that run, 1 in this one\n  image, kept layers: 0, 1 in that run, 1 in this one",
        ),
        (
            ("--modality", "text", "--set", "model.top_k=1"),
            r"\n  modalities: text, image in that run, text in this one",
        ),
        (("--max-items", "9"), r"\n  data.max_items: 13 in that run, 9 in this one"),
        (
            ("--set", "model.combine=concat"),
            r"\n  model.combine: sum in that run, concat in this one",
        ),
        (
            ("--set", "model.bottleneck_dim=16", "--set", "model.heads=4"),
            r"\n  model.heads: 2 in that run, 4 in this one\n  model.bottleneck_dim: 8 in that run, 16 in this one",
        ),
    ],
)
def test_what_cannot_be_carried_over_is_named(today, yesterday, more, expected):
    with pytest.raises(
        IncompatibleError, match=rf"(?s)--init .*: its weights cannot be carried over.*{expected}"
    ) as refused:
        run_train(today, "--init", yesterday / "r", *more)
    assert refused.value.exit_code == 5
    assert not (today / "r").exists()


def test_another_backbone_is_named(today, yesterday, tmp_path):
    other = write_store(tmp_path / "c2", Modality.TEXT, items=[*ITEMS, *NEW_ITEMS], name="another")
    with pytest.raises(
        IncompatibleError, match=r"text, fingerprint: \w{12} in that run, \w{12} in this one"
    ):
        run_train(today, "--init", yesterday / "r", "--store", other)


def test_whole_id_vectors_may_be_dropped_from_now_on_but_scores_stay_what_they_are():
    def settings_with(**model):
        return RunSettings.model_validate(
            {
                "data": {"dataset": "d"},
                "model": {"kind": "frozen", "id_embedding": True, **model},
                "objective": {"temperature": 0.1},
            }
        )

    before = settings_with()
    assert differing_facts(before, {}, settings_with(id_dropout=0.2), {}) == []
    now = settings_with(scores="cosine", norm="pre", positions="relative")
    assert differing_facts(before, {}, now, {}) == [
        "model.norm: post in that run, pre in this one",
        "model.positions: absolute in that run, relative in this one",
        "model.scores: dot in that run, cosine in this one",
    ]


def test_dropout_and_the_number_of_experts_may_change(today, yesterday):
    assert (
        run_train(
            today, "--init", yesterday / "r", "--set", "model.dropout=0.2", "--set", "model.top_k=1"
        )["epochs"]
        == 2
    )
