"""The command that a refusal prints makes rows for the very stores that the run reads."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import Modality
from crossan.common.stores import find_stores, open_store
from crossan.extract.cli import extract
from crossan.train.features.extract_command import extract_command
from crossan.train.settings import DataSettings
from support.commands import run
from support.extraction import write_items

DATA = DataSettings(dataset="d", cache="c")


def store(path="c/shop/text/s", **fields):
    plain = {
        "modality": Modality.TEXT,
        "backbone": {"id": "org/bert", "revision": "abc"},
        "inputs": {"max_length": 64},
        "capture": {"layers": [0, 2], "pooling": "cls", "compute_dtype": "float32"},
        "dim": 8,
    }
    return SimpleNamespace(path=Path(path), identity=StoreIdentity(**{**plain, **fields}))


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, "--backbone org/bert --revision abc --layers 0,2 --pooling cls --max-length 64"),
        (
            {"backbone": {"id": "local/bert", "revision": None}},
            "--backbone FOLDER --layers 0,2 --pooling cls --max-length 64",
        ),
        (
            {"backbone": {"id": "local/bert", "revision": "of a folder, which takes none"}},
            "--backbone FOLDER --layers 0,2 --pooling cls --max-length 64",
        ),
        (
            {"capture": {"layers": [1], "pooling": "mean", "compute_dtype": "bfloat16"},
             "stored_dtype": "float32", "codec": "zstd", "inputs": {"max_length": None}},
            ("--backbone org/bert --revision abc --layers 1 --pooling mean"
            " --dtype bfloat16 --stored-dtype float32 --codec zstd"),
        ),
        (
            {"modality": Modality.VIDEO, "inputs": {"clip_kept_as": {}}},
            "--backbone org/bert --revision abc --layers 0,2 --pooling cls --clips FOLDER",
        ),
        ({"backbone": {}, "capture": {"layers": [3], "pooling": 4}, "inputs": {}}, "--layers 3"),
    ],
)  # fmt: skip
def test_the_options_are_those_of_the_store(fields, options):
    one = store(**fields)
    modality = one.identity.modality
    assert extract_command([modality], DATA, {modality: one}) == (
        f"crossan-extract --modality {modality.value} --dataset d --cache c {options}"
    )


def test_a_modality_without_a_store_gets_the_defaults():
    assert extract_command([Modality.TEXT, Modality.IMAGE], DATA) == (
        "crossan-extract --modality text,image --dataset d --cache c"
    )


def test_stores_have_a_command_each_and_imported_ones_their_own():
    imported = store(
        "c/shop/image/s",
        modality=Modality.IMAGE,
        backbone={"id": "clip", "family": "imported"},
        inputs={"imported": True},
        capture={"layers": [0], "pooling": "unknown", "compute_dtype": "float32"},
    )
    stores = {Modality.TEXT: store(), Modality.IMAGE: imported}
    both = extract_command([Modality.TEXT, Modality.IMAGE], DATA, stores)
    assert both.split(" && ") == [
        extract_command([Modality.TEXT], DATA, stores),
        (
            "crossan cache import SRC --format FORMAT --modality image --dataset shop --cache c"
            " --backbone clip --layers 0"
        ),
    ]


def test_a_path_with_a_space_stays_one_argument():
    data = DataSettings(dataset="my data", cache="c")
    assert "--dataset 'my data' --cache" in extract_command([Modality.TEXT], data)


def test_following_it_adds_to_the_same_store(tiny_backbones, tmp_path):
    data = DataSettings(dataset=str(tmp_path / "d"), cache=str(tmp_path / "c"))
    write_items(tmp_path / "d", [{"item_id": "a", "title": "one"}])
    backbone = tiny_backbones / "text"
    odd = "--layers 0,3 --pooling mean --max-length 9 --stored-dtype float32 --device cpu"
    where = ["--dataset", data.dataset, "--cache", data.cache, "--backbone", backbone]
    run(extract, "--modality", "text", *where, *odd.split())
    (folder,) = find_stores(tmp_path / "c", "made-up", Modality.TEXT)
    command = extract_command([Modality.TEXT], data, {Modality.TEXT: open_store(folder)})
    write_items(
        tmp_path / "grown", [{"item_id": "a", "title": "one"}, {"item_id": "b", "title": "two"}]
    )
    arguments = shlex.split(command.replace("FOLDER", str(backbone)))[1:]
    arguments[arguments.index("--dataset") + 1] = str(tmp_path / "grown")
    run(extract, *arguments, "--device", "cpu")
    assert find_stores(tmp_path / "c", "made-up", Modality.TEXT) == [folder]
    assert open_store(folder).item_ids.tolist() == ["a", "b"]
