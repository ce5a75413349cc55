"""A store whose newest manifest was lost is refused, whoever opens it and however it was lost."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from crossan.cache_schema.errors import StoreIntegrityError, StoreNotFoundError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import (
    ItemRow,
    Journal,
    create_store,
    find_stores,
    fsck,
    logical_digest,
    open_store,
    read_canary,
)
from crossan.common.stores.cli import app
from crossan.common.stores.growing.collect import collect
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.growing.repair import repair
from crossan.common.stores.recorded import open_recorded
from crossan.common.stores.versions import read_chain

MEMORY = Path("/dev/shm")
LOSSES = {
    "deleted": lambda path: path.unlink(),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "emptied": lambda path: path.write_bytes(b""),
    "renamed": lambda path: path.rename(path.with_name(f"{path.name}.bak")),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
    "that of before": lambda path: path.write_bytes(
        path.with_name(f"{int(path.stem) - 1:06d}.json").read_bytes() if int(path.stem) > 1 else b""
    ),
}


@pytest.fixture
def grown(begin_store, make_identity, make_rows):
    """Return a function that makes a store of so many versions, each of which changes item 1."""

    def grow(count):
        folder = begin_store(make_identity(), "cache/sample/text/bert-1")
        journal = Journal.open(folder, "shard 1/1")
        for version in range(1, count + 1):
            row = make_rows(range(100 * version, 100 * version + 1))[0].row
            changed = [type(item)(item.item_id, item.content_digest, item.status, row=row)
                       for item in make_rows(range(1, 2))]  # fmt: skip
            journal.append([*make_rows(range(2, 5)), *changed])
            journal.publish({})
        journal.close()
        return folder

    return grow


def versions_of(store):
    return sorted((store / "versions").iterdir())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_older_version_is_never_read_in_its_place(grown, count, loss):
    store = grown(count)
    assert open_store(store).read([0])[0, 0, 0] == 100 * count
    LOSSES[loss](versions_of(store)[-1])
    with pytest.raises(StoreIntegrityError) as raised:
        open_store(store)
    assert str(store / "versions") in raised.value.message
    assert not fsck(store).ok


def commands_on(store):
    return {
        "info": ("info", store),
        "verify": ("verify", store),
        "fsck": ("fsck", store),
        "digest": ("digest", store),
        "diff": ("diff", store, store),
        "card": ("card", store),
        "export": ("export", "mmrec", store, "--out", store.parent / "out"),
        "compact": ("compact", store),
        "gc": ("gc", store),
        "ls": ("ls", "--cache", store.parents[2]),
    }


@pytest.mark.parametrize("command", commands_on(Path("/a/b/c/d")))
@pytest.mark.parametrize("count", [1, 3])
def test_every_command_that_opens_it_stops_with_4(grown, count, command):
    store = grown(count)
    versions_of(store)[-1].unlink()
    kept = sorted(path.name for path in (store / "segments").iterdir())
    result = CliRunner().invoke(app, [str(word) for word in commands_on(store)[command]])
    code = getattr(result.exception, "exit_code", result.exit_code)
    assert code == 4, result.output
    assert sorted(path.name for path in (store / "segments").iterdir()) == kept


def test_several_lost_manifests_are_one_loss(grown):
    store = grown(4)
    for path in versions_of(store)[1:]:
        path.unlink()
    with pytest.raises(
        StoreIntegrityError, match="found 3 under segments/ in none, first: "
    ) as lost:
        open_store(store)
    assert "a manifest newer than version 1 was lost" in lost.value.message
    assert "crossan-extract --repair" in lost.value.remedy
    assert f"crossan cache pull REMOTE --to {store}" in lost.value.remedy
    shutil.rmtree(store / "versions")
    with pytest.raises(StoreIntegrityError, match="found 4 under segments/ in none"):
        open_store(store)


def test_a_version_that_is_named_is_read_all_the_same(grown):
    store = grown(3)
    versions_of(store)[-1].unlink()
    assert open_store(store, 2).read([0])[0, 0, 0] == 200
    with pytest.raises(StoreNotFoundError, match="expected version 3, found versions 1 to 2"):
        open_store(store, 3)
    with pytest.raises(StoreIntegrityError, match="expected version 3, which was recorded"):
        open_recorded(store, 3)


ALL_LOST = {
    "each deleted": lambda versions: [path.unlink() for path in versions.iterdir()],
    "the folder deleted": shutil.rmtree,
    "a file in its place": lambda versions: (shutil.rmtree(versions), versions.touch()),
    "a pipe in its place": lambda versions: (shutil.rmtree(versions), os.mkfifo(versions)),
    "the newest renamed": lambda versions: (versions / "000004.json").rename(
        versions / "000005.json"
    ),
}


@pytest.mark.parametrize("loss", ALL_LOST)
def test_a_version_that_is_named_is_missed_where_others_tell_of_it(grown, loss):
    store = grown(4)
    ALL_LOST[loss](store / "versions")
    for opened in (open_recorded, open_store):
        with pytest.raises(StoreIntegrityError):
            opened(store, 4)
    for words in commands_on(store).values():
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert getattr(result.exception, "exit_code", result.exit_code) == 4, (words, result.output)
    for words in (["pull", f"{store}@4"], ["pull", store]):
        result = CliRunner().invoke(app, [*map(str, words), "--to", str(store.parents[3] / "copy")])
        assert getattr(result.exception, "exit_code", result.exit_code) == 4, (words, result.output)


def test_a_recorded_version_is_missed_where_no_segment_is_left_either(grown):
    store = grown(1)
    for name in ("versions", "segments"):
        shutil.rmtree(store / name)
    with pytest.raises(StoreIntegrityError, match="expected version 1, which was recorded"):
        open_recorded(store, 1)


@pytest.mark.parametrize("loss", list(ALL_LOST)[:4])
def test_a_repair_lists_again_what_lies_there(grown, make_identity, loss):
    store = grown(1)
    before = open_store(store).manifest_digest
    ALL_LOST[loss](store / "versions")
    repair(store, make_identity(), read_canary(store))
    assert open_store(store).manifest_digest == before
    assert fsck(store).ok


def test_a_repair_brings_it_back(grown, make_identity):
    store = grown(3)
    before = open_store(store).manifest_digest
    versions_of(store)[-1].unlink()
    repair(store, make_identity(), read_canary(store))
    assert open_store(store).manifest_digest == before
    assert fsck(store).ok


def test_a_repair_moves_a_segment_away_that_nobody_can_list(grown, make_identity):
    store = grown(2)
    listed = {entry.segment_id for entry in read_chain(store)[0].segments}
    versions_of(store)[-1].unlink()
    (stray,) = [path for path in (store / "segments").iterdir() if path.name not in listed]
    (stray / "segment.json").unlink()
    repair(store, make_identity(), read_canary(store))
    assert open_store(store).version == 1
    assert fsck(store).ok


def test_the_identity_of_a_store_with_content_is_missed(grown):
    store = grown(1)
    (store / "store.json").unlink()
    assert find_stores(store.parents[2], "sample") == [store]
    with pytest.raises(
        StoreIntegrityError, match=r"store\.json: expected the identity of the store"
    ):
        open_store(store)
    shutil.rmtree(store / "versions")
    shutil.rmtree(store / "segments")
    assert find_stores(store.parents[2], "sample") == []


def test_ls_shows_the_others_and_ends_with_4(grown, begin_store, make_identity):
    store = grown(2)
    begin_store(make_identity(dim=4), "cache/sample/text/bert-2")
    versions_of(store)[-1].unlink()
    result = CliRunner().invoke(app, ["ls", "--cache", str(store.parents[2]), "--json"])
    assert result.exit_code == 4
    broken, empty = json.loads(result.stdout)["stores"]
    assert "was lost" in broken["error"]
    assert empty["version"] == 0


@settings(max_examples=15)
@given(steps=st.text("acgd", min_size=1, max_size=6), lost=st.integers(1, 3))
def test_after_any_history_and_loss_the_newest_content_is_read_or_none(steps, lost):
    """Append, compact, collect and delete in any order; then the last manifests are gone."""
    identity = StoreIdentity(
        modality="text", backbone={"id": "b"}, inputs={}, capture={"layers": [0]}, dim=2
    )
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as top:
        store = Path(top) / "store"
        create_store(store, identity, np.zeros((4, 1, 2), np.float32))
        for number, step in enumerate(f"a{steps}"):
            if step == "c":
                compact(store, "test")
            elif step == "g":
                collect(store, keep=1)
            else:
                value = None if step == "d" else np.full((1, 2), number, np.float16)
                status = ItemStatus.DELETED if step == "d" else ItemStatus.OK
                journal = Journal.open(store, "shard 1/1")
                journal.append([ItemRow(f"v{number % 2}", None, status, row=value)])
                journal.publish({})
                journal.close()
        digest, kept = logical_digest(open_store(store)), read_chain(store)
        for path in versions_of(store)[-lost:]:
            path.unlink()
        listed = [{entry.segment_id for entry in one.segments} for one in kept]
        remaining = listed[: len(kept) - min(lost, len(kept))]
        if remaining and listed[-1] <= set().union(*remaining):
            assert logical_digest(open_store(store)) == digest  # a collection lists nothing new
        else:
            with pytest.raises(StoreIntegrityError, match="was lost"):
                open_store(store)
