"""A finished run on a dataset, and stores, that have gained items since: what its commands read, and what they refuse."""

import json
import re

import pytest
import torch

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.modality import Modality
from crossan.train.cli import evaluate, recommend
from crossan.train.evaluation.encoding import encode_items
from crossan.train.runs.opening import open_run
from support.commands import run, train_in
from support.fabricated import make_sequences, write_rows, write_small, write_store

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.lr=0.01",
    "batch_size=32",
    "max_epochs=2",
)
WITH_IDS = ("--set", "model.id_embedding=true")
ITEMS = [f"i{topic}{item}" for topic in range(4) for item in range(10)]
NEW = ["h00", "j00"]
"""The first and the last of the catalogue then."""


def run_train(place, *more, out="r"):
    return train_in(place, SETTINGS, *more, out=out)


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in ("CROSSAN_DATASET", "CROSSAN_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return write_small(tmp_path)


def grow_dataset(place):
    """Let twenty users come who took the new items."""
    rows = make_sequences()
    for user in range(20):
        taken = [*NEW, "i02", f"i{user % 4}2", "i01", "i03"]
        rows += [(f"v{user:02d}", item, time) for time, item in enumerate(taken)]
    (place / "d").rename(place / "before")
    write_rows(place / "d", rows, items=["h00", *ITEMS, "j00"])


def grow_store(place, modality, **more):
    """Write the new items into version 2 of a store."""
    write_store(place / "c", modality, items=NEW, **more)


def vectors(place):
    opened = open_run(place / "r", device="cpu")
    return opened, encode_items(opened.model, opened.features)


@pytest.mark.parametrize("more", [(), WITH_IDS], ids=["content", "content and ids"])
def test_new_items_are_known_by_the_newest_version(place, more):
    run_train(place, *more)
    lock = (place / "r/cache.lock.json").read_bytes()
    _, before = vectors(place)
    grow_dataset(place)
    for modality in (Modality.TEXT, Modality.IMAGE):
        grow_store(place, modality)
    evaluated = run(evaluate, place / "r", "--json")
    assert json.loads(evaluated.stdout)["items"] == 42
    for name in ("text", "image"):
        assert (
            f"{name}: reading version 2 of the store; version 1, which the run was trained on, does not serve 2 items of"
            " the dataset, first: h00"
        ) in evaluated.stderr
    shown = run(recommend, place / "r", "--history", "h00,i01,i02", "--top", "39", "--json")
    assert "j00" in {item["item_id"] for item in json.loads(shown.stdout)["items"]}
    opened, after = vectors(place)
    assert opened.kept.item_ids.tolist() == ["h00", *ITEMS, "j00"]
    assert torch.allclose(after[1:41], before, atol=1e-6)
    if more:
        assert not opened.model.id_embedding.weight[[0, 41]].any()  # by their content alone
    assert after[[0, 41]].abs().sum(dim=1).min() > 0
    assert (place / "r/cache.lock.json").read_bytes() == lock


def test_items_in_no_version_are_to_be_extracted(place):
    run_train(place)
    grow_dataset(place)
    grow_store(place, Modality.TEXT)
    for command, arguments in ((evaluate, ()), (recommend, ("--user", "v00"))):
        with pytest.raises(DataError) as caught:
            run(command, place / "r", *arguments)
        assert caught.value.message == (
            "the stores do not hold every item of the dataset\n"
            "  image has 40 items, 2 of the dataset's were never extracted, first: h00"
        )
        extract = f"crossan-extract --modality image --dataset {place / 'd'} --cache {place / 'c'}"
        options = "--backbone made-up --layers 0,1 --pooling cls"
        assert (
            caught.value.remedy == f"Run: {extract} {options}"
        )  # neither command has --drop-items
    grow_store(place, Modality.IMAGE)
    assert json.loads(run(evaluate, place / "r", "--json").stdout)["items"] == 42


def test_items_that_had_no_modality_then(place):
    for modality in (Modality.TEXT, Modality.IMAGE):
        grow_store(place, modality, absent=NEW)
    run_train(place)
    grow_dataset(place)
    expected = "2 items have none of the modalities text, image, first: h00"
    with pytest.raises(DataError, match=expected) as caught:
        run(evaluate, place / "r")
    assert caught.value.remedy.startswith(
        "Add their media to the dataset and run: crossan-extract --modality text"
    )
    pinned = "this run reads pinned versions of its stores (text 2, image 2), where "
    with pytest.raises(DataError, match=re.escape(pinned + expected)) as caught:
        run_train(place, "--resume")
    assert (
        caught.value.remedy
        == f"Begin another run from its weights: --init {place / 'r'} --out {place / 'r'}-2"
    )
    grow_store(place, Modality.IMAGE)
    evaluated = run(evaluate, place / "r", "--json")
    assert json.loads(evaluated.stdout)["items"] == 42
    assert "image: reading version 3 of the store; version 2, which" in evaluated.stderr
    assert "text: reading" not in evaluated.stderr


@pytest.mark.parametrize("is_extracted", [True, False])
def test_training_goes_on_with_its_own_versions_or_not_at_all(place, is_extracted):
    run_train(place)
    grow_dataset(place)
    if is_extracted:
        for modality in (Modality.TEXT, Modality.IMAGE):
            grow_store(place, modality)
    with pytest.raises(DataError) as caught:
        run_train(place, "--resume", "--set", "max_epochs=3")
    assert caught.value.message == (
        f"{place / 'r'}: this run reads pinned versions of its stores, without every item of the dataset\n"
        "  text has 40 items in version 1, 2 of the dataset's are not among them, first: h00\n"
        "  image has 40 items in version 1, 2 of the dataset's are not among them, first: h00"
    )
    assert (
        caught.value.remedy
        == f"Begin another run from its weights: --init {place / 'r'} --out {place / 'r'}-2"
    )
    if is_extracted:
        result = json.loads(run_train(place, "--init", place / "r", out="r-2").stdout)
        assert result["items"] == 42


def test_a_run_goes_on_after_its_stores_alone_have_grown(place):
    """The dataset is the same: figures are, too, and no newer version is looked at."""
    result = json.loads(run_train(place).stdout)
    grow_store(place, Modality.TEXT)
    evaluated = run(evaluate, place / "r", "--json")
    assert json.loads(evaluated.stdout)["test"] == result["test"]
    assert "reading version" not in evaluated.stderr
    assert json.loads(run_train(place, "--resume", "--set", "max_epochs=3").stdout)["epochs"] == 3


def test_what_a_run_dropped_stays_dropped(tmp_path):
    """Its figures are of the catalogue without them, whatever was extracted later."""
    write_rows(tmp_path / "d", make_sequences())
    write_store(tmp_path / "c", Modality.TEXT, items=ITEMS[:-1])
    result = json.loads(run_train(tmp_path, "--drop-items", "--set", "model.top_k=1").stdout)
    write_store(tmp_path / "c", Modality.TEXT, items=ITEMS[-1:])
    evaluated = run(evaluate, tmp_path / "r", "--json")
    assert "dropped 1 items the stores cannot serve (--drop-items), first: i39" in evaluated.stderr
    found = json.loads(evaluated.stdout)
    assert (found["items"], found["test"]) == (39, result["test"])
