"""crossan export: its files answer as crossan does, in a process that has no crossan."""

import hashlib
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from crossan.cache_schema.errors import UsageError
from crossan.train.cli import export
from crossan.train.runs import opening
from crossan.train.runs.opening import open_run
from crossan.train.runs.recommend import recommend_items
from crossan.train.runs.vectors import item_vectors
from support.commands import run, train_quickly
from support.fabricated import write_small

NAMES = {
    "README.md", "items.parquet", "items.safetensors", "manifest.json", "user_encoder.pt2",
    "user_encoder.safetensors",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = write_small(tmp_path_factory.mktemp("export"))
    for kind in ("crossan", "popularity"):
        train_quickly(place, "--model", kind, out=kind, epochs=2)
    run(export, place / "crossan", "--out", place / "e" / "mine", "--json")
    return place


@pytest.fixture
def exported(place):
    return place / "e" / "mine"


def test_the_files_are_those_of_the_manifest(place, exported):
    assert {entry.name for entry in exported.iterdir()} == NAMES
    assert [entry.name for entry in exported.parent.iterdir()] == ["mine"]  # nothing is left over
    manifest = json.loads((exported / "manifest.json").read_text())
    for name, file in manifest["files"].items():
        content = (exported / name).read_bytes()
        assert file == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert set(manifest["files"]) == NAMES - {"README.md", "manifest.json"}
    assert (manifest["items"], manifest["width"], manifest["input_length"]) == (40, 16, 10)
    assert manifest["dataset"]["licence"] == "none"
    assert set(manifest["stores"]) == {"text", "image"}


def test_vectors_are_those_of_the_run_in_both_forms(place, exported):
    opened = open_run(place / "crossan", device="cpu")
    vectors = item_vectors(opened)
    table = pq.read_table(exported / "items.parquet")
    assert table.column("item_id").to_pylist() == opened.kept.item_ids.tolist()
    assert table.column("title")[0].as_py() == "title of i00"
    assert torch.equal(torch.tensor(table.column("vector").to_pylist()), vectors)
    assert torch.equal(
        safetensors.torch.load_file(exported / "items.safetensors")["vectors"], vectors
    )
    weights = safetensors.torch.load_file(exported / "user_encoder.safetensors")
    own = opened.model.sequence_encoder.state_dict()
    assert weights.keys() == own.keys()
    assert all(torch.equal(weights[name], own[name]) for name in own)


BLOCKED = """
import importlib.abc, json, sys

class Refusing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "crossan":
            raise ModuleNotFoundError("crossan is not here")

sys.meta_path.insert(0, Refusing())
exec(compile(sys.stdin.read(), "README.md", "exec"))
histories = json.loads(sys.argv[1])
batch = torch.tensor([([-1] * 10 + [items.index(item) for item in one])[-10:] for one in histories])
together = user_encoder(batch, item_vectors) @ item_vectors.T
print(json.dumps([[recommend(one, 7), together[n].tolist()] for n, one in enumerate(histories)]))
assert not [name for name in sys.modules if name.partition(".")[0] == "crossan"]
"""


def test_the_program_of_the_page_recommends_as_crossan_does_without_it(place, exported):
    """Run as its reader would, in the folder, with crossan kept out and no data set or store named."""
    opened = open_run(place / "crossan", device="cpu")
    ids = opened.kept.item_ids
    rows = [opened.kept.sequence(1), opened.kept.sequence(0)[:1], opened.kept.sequence(3)]
    histories = [ids[one].tolist() for one in rows]
    histories[0] = histories[0] * 3  # longer than the encoder reads
    (program,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.S)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED, json.dumps(histories)],
        input=program, cwd=exported, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    index = {str(item): row for row, item in enumerate(ids)}
    for history, (best, scores) in zip(histories, json.loads(done.stdout), strict=True):
        own = recommend_items(opened, opened_rows(index, history), 40)
        assert [item for item, _ in best] == [item["item_id"] for item in own[:7]]
        for item in own:
            assert scores[index[item["item_id"]]] == pytest.approx(item["score"], abs=1e-5)


def opened_rows(index, history):
    return np.array([index[item] for item in history])


def test_no_part_of_the_program_needs_pickle_or_names_this_machine(exported):
    """What torch reads by its restricted unpickler opens so; no path of ours is among the traces."""
    with zipfile.ZipFile(exported / "user_encoder.pt2") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert any(name.endswith(".json") for name in contents)
    for name, content in contents.items():
        assert str(Path(opening.__file__).parents[3]).encode() not in content
        if name.endswith(".pt"):
            torch.load(io.BytesIO(content), weights_only=True)


def test_a_model_that_counts_has_nothing_to_export(place, tmp_path):
    with pytest.raises(UsageError, match="one of popularity, which has none"):
        run(export, place / "popularity", "--out", tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_no_folder_of_somebody_is_touched(place, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out, match in (
        (tmp_path / "mine", "found files in it"),
        (tmp_path / "file", "found a file"),
    ):
        with pytest.raises(UsageError, match=match):
            run(export, place / "crossan", "--out", out)
    with pytest.raises(UsageError, match="found the run"):
        run(export, place / "crossan", "--out", place / "crossan" / "export")
    assert [entry.name for entry in (tmp_path / "mine").iterdir()] == ["notes.txt"]
