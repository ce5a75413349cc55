"""Replacing a dataset: whenever it is cut off, the folder reads as the old one or as the new one."""

import json
import os
import shutil
from contextlib import suppress

import pyarrow as pa
import pytest

from crossan.cache_schema.errors import BusyError, DataError, UsageError
from crossan.common import files
from crossan.common.datasets import open_dataset, publishing, write_dataset
from crossan.common.owners import our_token
from support.killing import Killed

CALLS = [
    (os, "fsync"),
    (files, "begin_write"),
    (files, "fsync_folder"),
    (publishing, "fsync_folder"),
    (publishing.Path, "replace"),
    (publishing.Path, "mkdir"),
    (publishing.Path, "unlink"),
    (publishing.shutil, "rmtree"),
]
"""Whatever changes the disk, or waits for it."""


def write(folder, name, **options):
    """Write a dataset all of whose values begin with its name."""
    items = [f"{name}{n}" for n in range(3)]
    nothing = pa.nulls(3, pa.string())
    return write_dataset(
        folder,
        name=name,
        source_format="table",
        licence="ours",
        interactions=pa.table(
            {"user_id": [name] * 3, "item_id": items, "timestamp": pa.nulls(3, pa.int64())}
        ),
        items=pa.table(
            {"item_id": items, "title": items, "image": nothing, "video": nothing, "audio": nothing}
        ),
        record=json.dumps({"updates": len(name)}).encode(),
        **options,
    )


def values(folder):
    """Return all that a dataset folder says, read through its `Dataset`."""
    dataset = open_dataset(folder)
    return (
        dataset.name,
        dataset.interactions().column("item_id").to_pylist(),
        dataset.items().column("title").to_pylist(),
    )


OLD, NEW = (
    (name, [f"{name}{n}" for n in range(3)], [f"{name}{n}" for n in range(3)])
    for name in ("old", "new")
)


def fail_from(patch, step, error, is_fatal):
    """Raise in place of the n-th change of the disk and, where it is fatal, of all after it.

    Return the number of changes, as a list.
    """
    count = [0]

    def counted(call):
        def change(*arguments, **options):
            count[0] += 1
            if count[0] == step or (is_fatal and count[0] > step):
                raise error
            return call(*arguments, **options)

        return change

    for owner, name in CALLS:
        patch.setattr(owner, name, counted(getattr(owner, name)))
    return count


@pytest.mark.parametrize("error", [Killed(), OSError(5, "Input/output error")], ids=["kill", "EIO"])
def test_a_replacement_that_is_cut_off_leaves_the_old_or_the_new_dataset(tmp_path, error):
    write(tmp_path / "whole", "old")
    (tmp_path / "whole" / "covers").mkdir()
    (tmp_path / "whole" / "covers" / "1.jpg").write_bytes(b"a picture")
    states, step, is_over = [], 0, False
    while not is_over:
        step += 1
        folder = shutil.copytree(tmp_path / "whole", tmp_path / f"d{step}")
        with pytest.MonkeyPatch.context() as patch:
            count = fail_from(patch, step, error, is_fatal=isinstance(error, Killed))
            with suppress(Killed, OSError):
                write(folder, "new", is_replaced=True)
            is_over = count[0] < step
        states.append(values(folder))
        assert states[-1] in (OLD, NEW)
        # Whatever was left, the next write ends as if nothing had been.
        write(folder, "newer", is_replaced=True)
        assert values(folder)[0] == "newer"
        assert sorted(path.name for path in folder.iterdir() if ".owner" not in path.name) == [
            "covers",
            "dataset.json",
            "import.json",
            "interactions.parquet",
            "items.parquet",
        ]
        assert (folder / "covers" / "1.jpg").read_bytes() == b"a picture"
    assert states[0] == OLD
    assert states[-1] == NEW
    assert states == sorted(states, key=lambda state: state == NEW)  # it turns once
    assert step > 15


def test_a_dataset_is_replaced_only_on_request(tmp_path):
    write(tmp_path, "old")
    with pytest.raises(UsageError, match="a dataset is in this folder already") as refused:
        write(tmp_path, "new")
    assert "--replace" in refused.value.remedy
    assert "rm " not in refused.value.remedy
    assert values(tmp_path) == OLD


def test_two_processes_do_not_write_one_dataset(tmp_path, monkeypatch):
    write(tmp_path, "old")
    (tmp_path / ".owner").write_text(our_token().replace("-", "0-", 1))
    with pytest.raises(BusyError, match="another process writes this dataset"):
        write(tmp_path, "new", is_replaced=True)
    assert values(tmp_path) == OLD


@pytest.mark.parametrize(
    "named", ["..", "/tmp", ".tables-1", 7, ["x"], ".tables-0123456789abcdef/.."]
)
def test_a_description_names_no_folder_of_others(tmp_path, named):
    write(tmp_path, "old")
    description = tmp_path / "dataset.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "tables": named}))
    with pytest.raises(DataError, match="expected tables in a folder of ours"):
        open_dataset(tmp_path)
