"""What a run reads: stores to choose from, items they cannot serve, datasets that are short or have changed."""

import json
import shutil

import pytest

from crossan.cache_schema.errors import (
    DataError,
    IncompatibleError,
    StoreIntegrityError,
    StoreNotFoundError,
    UsageError,
)
from crossan.cache_schema.modality import Modality
from crossan.train.cli import evaluate
from crossan.train.record.run_folder import RunFolder
from support.commands import run, train_quickly


def test_two_stores_of_one_modality_must_be_told_apart(small, make_store):
    other = make_store(small / "c", Modality.TEXT, name="another")
    with pytest.raises(UsageError, match=r"(?s)2 text stores to choose from.*another.*--store"):
        train_quickly(small, epochs=1)
    assert train_quickly(small, "--store", other, epochs=1)["epochs"] == 1


def test_a_store_may_be_read_at_an_earlier_version(small, make_store):
    store = make_store(small / "c", Modality.TEXT, items=["i39"])
    assert train_quickly(small, epochs=1, out="newest")["epochs"] == 1
    train_quickly(small, "--store", f"{store}@1", epochs=1, out="pinned")
    versions = [
        RunFolder(small / out).lock()["stores"]["text"]["version"] for out in ("newest", "pinned")
    ]
    assert versions == [2, 1]
    with pytest.raises(StoreNotFoundError, match="expected version 3, found versions 1 to 2"):
        train_quickly(small, "--store", f"{store}@3", epochs=1, out="later")


def test_items_that_were_never_extracted_stop_the_run(small, make_store):
    known = [f"i{topic}{item}" for topic in range(4) for item in range(10)][:-2]
    make_store(small / "c", Modality.AUDIO, items=known)
    expected = r"(?s)audio has 38 items, 2 of the dataset's were never extracted, first: i38.*crossan-extract --modality audio"
    with pytest.raises(DataError, match=expected):
        train_quickly(small, epochs=1)
    assert train_quickly(small, "--drop-items", epochs=1)["items"] == 38


def test_items_without_any_modality_stop_the_run(tmp_path, make_dataset, make_store):
    make_dataset(tmp_path / "d")
    make_store(tmp_path / "c", Modality.IMAGE, absent={"i01"})
    single = ("--set", "model.top_k=1")
    with pytest.raises(DataError, match="1 items have none of the modalities image, first: i01"):
        train_quickly(tmp_path, *single, epochs=1)
    assert train_quickly(tmp_path, *single, "--drop-items", epochs=1)["items"] == 39


def test_different_counts_of_kept_layers_are_incompatible(small, make_store):
    make_store(small / "c", Modality.VIDEO, layers=(0, 1, 2))
    with pytest.raises(
        IncompatibleError,
        match=r"(?s)text keeps 0, 1; image keeps 0, 1; video keeps 0, 1, 2.*model.layers",
    ):
        train_quickly(small, epochs=1)
    assert train_quickly(small, "--set", "model.layers=[0,1]", epochs=1)["epochs"] == 1


@pytest.mark.parametrize(
    ("layer", "read"), [("last", {"text": [1], "video": [2]}), ("1", {"text": [1], "video": [1]})]
)
@pytest.mark.parametrize("kind", ["mmgcn", "grcn", "bm3", "freedom", "mgcn", "mhcr"])
def test_a_graph_model_reads_one_layer_of_each_store(small, make_store, kind, layer, read):
    make_store(small / "c", Modality.VIDEO, layers=(0, 1, 2))
    more = ("--modality", "text,video", "--set", f"model.layer={layer}")
    train_quickly(small, "--model", kind, *more, epochs=1)
    stores = json.loads((small / "r" / "cache.lock.json").read_bytes())["stores"]
    assert {name: entry["layers"] for name, entry in stores.items()} == read


def test_a_run_does_not_go_on_over_a_changed_dataset(small, make_dataset):
    train_quickly(small, epochs=1)
    shutil.rmtree(small / "d")
    make_dataset(
        small / "d",
        rows=[
            (f"u{user:03d}", f"i0{(user + time) % 10}", time)
            for user in range(20)
            for time in range(6)
        ],
    )
    expected = r"(?s)the dataset has changed.*expected 150 users, 40 items.*found 20 users, 10 items.*--init .*/r --out .*/r-2"
    with pytest.raises(IncompatibleError, match=expected):
        train_quickly(small, "--resume", epochs=2)
    assert len(RunFolder(small / "r").metrics()) == 1
    assert not (small / "r" / ".owner").exists()


@pytest.mark.parametrize("name", ["dataset.lock.json", "cache.lock.json", "env.json"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b""])
def test_a_damaged_record_is_named(small, name, damage):
    train_quickly(small, epochs=1)
    record = small / "r" / name
    record.write_bytes(damage(record.read_bytes()))
    with pytest.raises(StoreIntegrityError, match=f"r/{name}: expected one JSON object"):
        train_quickly(small, "--resume", epochs=2)


def test_users_with_a_single_item_to_learn_from_are_trained_with(
    tmp_path, make_dataset, make_store
):
    """In batches of one, most of them with nothing to predict."""
    short = [(f"v{user:02d}", f"i0{item}", item) for user in range(20) for item in range(3)]
    make_dataset(tmp_path / "d", rows=short)
    make_store(tmp_path / "c", Modality.TEXT)
    few = ("--set", "data.min_items=3", "--set", "batch_size=1", "--set", "model.top_k=1")
    with pytest.raises(DataError, match="expected users with 4 interactions or more"):
        train_quickly(tmp_path, *few, epochs=1)
    assert not (tmp_path / "r").exists()
    shutil.rmtree(tmp_path / "d")
    make_dataset(
        tmp_path / "d",
        rows=[
            *short,
            *((f"u{user:02d}", f"i0{item}", item) for user in range(5) for item in range(5)),
        ],
    )
    result = train_quickly(tmp_path, *few, epochs=2)
    assert (result["users"], result["epochs"]) == (25, 2)


def test_a_moved_store_version_does_not_change_a_resumed_run(small, make_store):
    train_quickly(small, epochs=1)
    lock = json.loads((small / "r" / "cache.lock.json").read_text())
    assert {name: entry["version"] for name, entry in lock["stores"].items()} == {
        "text": 1,
        "image": 1,
    }
    shutil.rmtree(small / "c")
    with pytest.raises(StoreNotFoundError):
        run(evaluate, small / "r")
