"""Runs with a vector per item: without any cache, beside content, stopped, begun from, and on data that moved on."""

import json

import pytest
import torch
from safetensors.torch import load_file

from crossan.cache_schema.errors import ConfigError, IncompatibleError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.train.cli import evaluate, recommend, train
from crossan.train.evaluation.encoding import encode_items
from crossan.train.report.cli import report
from crossan.train.runs.opening import open_run
from support.commands import run, train_in
from support.fabricated import make_sequences, write_rows, write_small, write_store
from support.outcomes import unmeasured_bytes
from support.reported import undrawn_figures
from support.stopping import Died, die_at_step

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.lr=0.01",
    "batch_size=32",
    "model.id_embedding=true",
)
IDS_ALONE = ("--model", "sasrec", "--set", "optimiser.id_lr=0.01")
ROWS = "id_embedding.weight"
ITEMS = [f"i{topic}{item}" for topic in range(4) for item in range(10)]
COLD = [row for row, item in enumerate(ITEMS) if int(item[2]) >= 7]
"""Rows of items that only the end of a sequence holds."""


def run_train(place, *more, out="r", epochs=2):
    settings = (*SETTINGS, f"max_epochs={epochs}")
    return json.loads(train_in(place, settings, *more, out=out).stdout.splitlines()[-1])


def weights(run_folder, name="best"):
    return load_file(run_folder / "checkpoints" / name / "model.safetensors")


def test_ids_alone_need_no_cache_and_learn(small):
    result = run_train(small, *IDS_ALONE, epochs=12)
    warm, popular = (
        result["slices"]["target"]["warm"]["hr@10"],
        result["popularity"]["test"]["hr@10"],
    )
    assert warm > 0.9 > popular + 0.3  # each user keeps to one of four topics, of 7 warm items each
    assert json.loads((small / "r/cache.lock.json").read_text()) == {"stores": {}}
    assert json.loads(run(evaluate, small / "r", "--json").stdout)["test"] == result["test"]
    shown = json.loads(
        run(recommend, small / "r", "--history", "i00,i01,i02", "--top", "4", "--json").stdout
    )
    assert all(item["item_id"].startswith("i0") for item in shown["items"])
    with undrawn_figures():
        run(report, small / "r", "--out", small / "report.html")
    page = (small / "report.html").read_text()
    assert ">Settings</h2>" in page
    assert ">Gates</h2>" not in page


@pytest.mark.parametrize("more", [(), IDS_ALONE], ids=["both", "ids alone"])
def test_items_never_seen_in_training_stay_without_a_vector_of_their_own(small, more):
    run_train(small, *more, epochs=3)
    rows = weights(small / "r", "last")[ROWS]
    assert not rows[COLD].any()
    assert all(rows[row].any() for row in range(40) if row not in COLD)


@pytest.mark.parametrize(
    "more",
    [(), IDS_ALONE, ("--set", "model.id_dropout=0.3")],
    ids=["both", "ids alone", "ids dropped"],
)
def test_a_run_that_died_ends_as_if_it_had_not(small, more, monkeypatch):
    run_train(small, *more, out="whole", epochs=3)

    with monkeypatch.context() as patch:
        die_at_step(patch, 8)
        with pytest.raises(Died):
            run_train(small, *more, "--set", "checkpoint.every_steps=3", epochs=3)
    run_train(small, *more, "--resume", epochs=3)
    for file in ("checkpoints/last/model", "checkpoints/last/optimiser", "checkpoints/best/model"):
        path = f"{file}.safetensors"
        assert (small / "r" / path).read_bytes() == (small / "whole" / path).read_bytes()
    lines = [unmeasured_bytes(small / out / "metrics.jsonl") for out in ("r", "whole")]
    assert lines[0] == lines[1]


def test_the_slow_step_trains_the_same(small):
    same = (
        "--set",
        "model.dropout=0",
        "--set",
        "optimiser.lr=0.0001",
        "--set",
        "optimiser.id_lr=0.0001",
    )
    fast, slow = run_train(small, *same), run_train(small, *same, "--reference", out="slow")
    assert slow["valid"]["hr@10"] == pytest.approx(fast["valid"]["hr@10"], abs=0.02)
    ours, plain = weights(small / "r", "last")[ROWS], weights(small / "slow", "last")[ROWS]
    assert torch.allclose(ours, plain, atol=1e-5)


def test_the_rate_of_the_ids_is_their_own(small):
    run_train(small, *IDS_ALONE[:2], "--set", "optimiser.id_lr=1e-12", out="still", epochs=1)
    run_train(small, *IDS_ALONE, out="moved", epochs=1)
    still, moved = weights(small / "still", "last"), weights(small / "moved", "last")
    assert still[ROWS].std() < 0.03 < moved[ROWS].std()
    assert not torch.equal(still["sequence_encoder.positions"], moved["sequence_encoder.positions"])


@pytest.fixture
def today(tmp_path):
    """Yesterday's run in ``yesterday``, and today's data: an item that comes first and one that comes last are new."""
    place = write_small(tmp_path / "y")
    rows = make_sequences()
    for user in range(20):
        topic = user % 4
        rows += [
            (f"v{user}", item, time)
            for time, item in enumerate(["h00", "j00", "i00", f"i{topic}2", "i01", "i03"])
        ]
    items = ["h00", *ITEMS, "j00"]
    write_rows(tmp_path / "d", rows, items=items)
    for modality in (Modality.TEXT, Modality.IMAGE):
        write_store(tmp_path / "c", modality, items=items)
    return tmp_path, place


@pytest.mark.parametrize("more", [(), IDS_ALONE], ids=["both", "ids alone"])
def test_a_warm_start_carries_each_vector_to_its_item(today, monkeypatch, more):
    place, yesterday = today
    run_train(yesterday, *more)
    theirs = weights(yesterday / "r")

    with monkeypatch.context() as patch:
        die_at_step(patch, 1)
        with pytest.raises(Died):
            run_train(place, *more, "--init", yesterday / "r")
    ours = weights(place / "r", "last")
    warm = [row for row in range(40) if row not in COLD]
    assert torch.equal(ours[ROWS][[row + 1 for row in warm]], theirs[ROWS][warm])  # h00 is row 0
    for new in (0, 41):
        assert 0 < ours[ROWS][new].abs().max() < 0.1  # N(0, 0.02)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name != ROWS)
    assert run_train(place, *more, "--init", yesterday / "r", "--resume")["items"] == 42


def test_a_run_opened_on_data_that_moved_on_knows_new_items_by_content_alone(today):
    place, yesterday = today
    run_train(yesterday)
    before = encode_items(
        (opened := open_run(yesterday / "r", device="cpu")).model, opened.features
    )
    config = yesterday / "r" / "config.toml"
    config.write_text(config.read_text().replace(str(yesterday / "d"), str(place / "d")))
    lock = yesterday / "r" / "cache.lock.json"
    entries = json.loads(lock.read_text())["stores"]
    for entry in entries.values():
        store = next((place / "c").rglob(entry["store"].rpartition("/")[2]))
        entry["store"] = str(store)
        del entry["manifest"]
    lock.write_text(json.dumps({"stores": entries}))
    opened = open_run(yesterday / "r", device="cpu")
    after = encode_items(opened.model, opened.features)
    assert opened.kept.item_ids.tolist() == ["h00", *ITEMS, "j00"]
    others = [
        row for row in range(40) if ITEMS[row] not in {"i00", "i15"}
    ]  # which have an image today
    assert torch.allclose(after[[row + 1 for row in others]], before[others], atol=1e-6)
    assert not opened.model.id_embedding.weight[[0, 41]].any()


def test_a_run_goes_on_only_with_the_items_it_was_begun_on(today):
    place, yesterday = today
    run_train(yesterday, *IDS_ALONE)
    dataset = yesterday / "d"
    dataset.rename(yesterday / "old")
    dataset.symlink_to(place / "d")
    with pytest.raises(
        IncompatibleError, match=r"each of its 40 items, found 42: 2 new, 0 gone, first: h00"
    ):
        run_train(yesterday, *IDS_ALONE, "--resume", epochs=4)


def test_a_run_with_ids_is_not_begun_from_one_without(small):
    run_train(small, "--set", "model.id_embedding=false")
    with pytest.raises(
        IncompatibleError, match=r"\n  model\.id_embedding: False in that run, True in this one"
    ):
        run_train(small, "--init", small / "r", out="other")
    assert not (small / "other").exists()


def test_features_that_are_not_read_cannot_be_chosen_or_shuffled(small):
    for given, named in (
        (("--set", "features.permute_seed=1"), "features.permute_seed"),
        (("--modality", "text", "--store", "s"), "data.modality, data.store"),
    ):
        with pytest.raises(
            ConfigError,
            match=f"expected no {named} with model.kind=sasrec, which reads no hidden states",
        ):
            run_train(small, *IDS_ALONE, *given)
    run_train(small, *IDS_ALONE)
    with pytest.raises(UsageError, match=r"--permute-features: .* reads no features"):
        run(evaluate, small / "r", "--permute-features", 1)


def test_content_needs_a_cache(small):
    with pytest.raises(UsageError, match="--cache: expected a folder of stores, found neither"):
        run(
            train,
            "--dataset",
            small / "d",
            "--out",
            small / "r",
            "--set",
            "model.id_embedding=true",
        )
