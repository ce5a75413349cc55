"""A pull or push makes whole what is damaged where it goes, and a merge takes nothing damaged."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.stores import Journal, fsck, logical_digest, open_store
from crossan.common.stores.cli import app
from crossan.common.stores.growing.collect import collect
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.sharing.locations import FolderLocation, location_of
from crossan.common.stores.sharing.objects import ObjectRemote
from crossan.common.stores.sharing.transfer import merge, transfer
from crossan.common.stores.versions import read_version
from support.chunk_edits import put_bits

FILES = [
    "store.json",
    "canary/features.npy",
    "versions/000001.json",
    "versions/000002.json",
    "segments/*/segment.json",
    "segments/*/zarr.json",
    "segments/*/items.parquet",
    "segments/*/hidden_states/zarr.json",
    "segments/*/hidden_states/c/0/0/0",
]


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def make_folder(path):
    path.unlink()
    path.mkdir()


def link_elsewhere(path):
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


DAMAGES = {
    "flipped": flip,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "gone": lambda path: path.unlink(),
    "folder": make_folder,
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "link": link_elsewhere,
}


@pytest.fixture
def copy(store, tmp_path):
    transfer(FolderLocation(store), FolderLocation(tmp_path / "copy"))
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("command", "pattern"),
    [*(("pull", pattern) for pattern in FILES), *(("push", FILES[n]) for n in (0, 2, 8))],
)
def test_whatever_is_damaged_at_the_target_is_whole_afterwards(store, copy, command, pattern):
    before = logical_digest(open_store(store))
    for name, damage in DAMAGES.items():
        path = min(copy.glob(pattern))
        damage(path)
        assert not fsck(copy).ok, name
        arguments = ("pull", store, "--to", copy) if command == "pull" else ("push", store, copy)
        done = json.loads(run(*arguments, "--json").stdout)
        for stray in copy.rglob("elsewhere"):
            stray.unlink()
        is_new_manifest = pattern == "versions/000002.json" and name == "gone"
        assert done["mended"] == ([] if is_new_manifest else [str(path.relative_to(copy))]), name
        assert done["segments"] == 0
        assert fsck(copy).ok, (name, fsck(copy).problems)
        assert logical_digest(open_store(copy)) == before
    assert json.loads(run(*arguments, "--json").stdout)["mended"] == []


def test_a_segment_that_is_no_folder_any_more_arrives_anew(store, copy, tmp_path):
    segment, elsewhere = min((copy / "segments").iterdir()), tmp_path / "elsewhere"
    segment.rename(elsewhere)
    shutil.rmtree(elsewhere / "hidden_states")
    segment.symlink_to(elsewhere)
    run("pull", store, "--to", copy)
    assert fsck(copy).ok
    assert not (elsewhere / "hidden_states").exists()


def test_what_is_new_is_kept_beside_what_is_mended(store, copy, append):
    """The damaged manifest is of a version that both have; what the copy added is listed on."""
    append(copy, range(20, 22))
    oldest = read_version(copy, 1).segments[0].segment_id
    flip(copy / "versions/000001.json")
    flip(copy / f"segments/{oldest}/hidden_states/c/0/0/0")
    run("pull", store, "--to", copy)
    assert fsck(copy).ok
    assert len(open_store(copy).item_ids) == 9


def test_what_a_compaction_has_replaced_is_mended_too(store, copy):
    """Older versions list it still, and a check of the copy reads it."""
    compact(store, "test")
    run("pull", store, "--to", copy)
    oldest = read_version(copy, 1).segments[0].segment_id
    chunk = copy / f"segments/{oldest}/hidden_states/c/0/0/0"
    flip(chunk)
    done = json.loads(run("pull", store, "--to", copy, "--json").stdout)
    assert done["mended"] == [str(chunk.relative_to(copy))]
    assert fsck(copy).ok
    collect(store, keep=1)
    flip(chunk)
    result = run("pull", store, "--to", copy)
    assert f"segment {oldest} is damaged, and {store} does not have it" in result.stderr
    assert [problem.where for problem in fsck(copy).problems] == [str(chunk)]


def test_a_manifest_of_another_history_is_not_taken(store, begin_store, make_identity, append):
    """Both have a version 1. The target's is damaged, and the source's says nothing of it."""
    other = begin_store(make_identity(), "other")
    append(other, range(20, 22))
    flip(other / "versions/000001.json")
    before = (other / "versions/000001.json").read_bytes()
    with pytest.raises(StoreIntegrityError, match=r"versions/000001\.json"):
        run("pull", store, "--to", other)
    assert (other / "versions/000001.json").read_bytes() == before


def test_damage_on_both_sides_is_said(store, copy):
    for folder in (store, copy):
        flip(min(folder.glob("segments/*/hidden_states/c/0/0/0")))
    with pytest.raises(StoreIntegrityError, match=f"{store}/segments/.*/c/0/0/0: expected"):
        run("pull", store, "--to", copy)


def test_a_source_whose_newest_manifest_was_lost_gives_nothing(store, tmp_path):
    """Its newest version that is left is not the newest that there was."""
    (store / "versions/000002.json").unlink()
    for arguments in (
        ["push", store, tmp_path / "b"],
        ["pull", store, "--to", tmp_path / "b"],
        ["merge", tmp_path / "b", store],
    ):
        with pytest.raises(StoreIntegrityError, match="found 1 under segments/ in none"):
            run(*arguments)
        assert not (tmp_path / "b").exists()
    run("pull", f"{store}@1", "--to", tmp_path / "b")  # a version that is named is given
    assert len(open_store(tmp_path / "b").item_ids) == 6


def test_no_verify_believes_what_is_there(store, copy):
    flip(min(copy.glob("segments/*/hidden_states/c/0/0/0")))
    assert (
        json.loads(run("pull", store, "--to", copy, "--no-verify", "--json").stdout)["mended"] == []
    )
    assert "1 damaged files replaced" in run("pull", store, "--to", copy).stdout


@pytest.mark.parametrize("options", [[], ["--verify"]])
def test_a_damaged_object_is_sent_again(store, bucket, options):
    remote = f"{bucket}/shop"
    run("push", store, remote, "--i-have-rights")
    objects = ObjectRemote.open(remote)
    keys = [
        str(min(store.glob(pattern)).relative_to(store))
        for pattern in FILES
        if "versions" not in pattern
    ]
    for key in keys:
        whole = objects.read(key)
        objects.replace(key, bytes([whole[0] ^ 1]) + whole[1:])
        done = json.loads(run("push", store, remote, "--i-have-rights", *options, "--json").stdout)
        assert done["mended"] == [key]
        assert objects.read(key) == whole
    objects.replace("versions/000002.json", b"{}")
    assert "1 damaged" in run("push", store, remote, "--i-have-rights", *options).stdout
    pulled = store.parent / "pulled"
    transfer(location_of(remote), FolderLocation(pulled))
    assert fsck(pulled).ok


def test_a_mark_that_is_no_md5_is_read_back_where_that_is_asked(store, bucket, monkeypatch):
    from crossan.common.stores.sharing import buckets

    remote = f"{bucket}/shop"
    run("push", store, remote, "--i-have-rights")
    objects = ObjectRemote.open(remote)
    key = str(min(store.glob(FILES[-1])).relative_to(store))
    whole = objects.read(key)
    objects.replace(key, bytes([whole[0] ^ 1]) + whole[1:])
    listed = buckets.BucketFolder.listed
    monkeypatch.setattr(
        buckets.BucketFolder,
        "listed",
        lambda self, prefix: {k: v._replace(etag="x-2") for k, v in listed(self, prefix).items()},
    )
    push = ("push", store, remote, "--i-have-rights", "--json")
    assert json.loads(run(*push).stdout)["mended"] == []
    assert json.loads(run(*push, "--verify").stdout)["mended"] == [key]


def test_an_object_that_a_cut_off_push_left_wrong_is_replaced(store, bucket):
    key = str(min(store.glob(FILES[-1])).relative_to(store))
    size = (store / key).stat().st_size
    ObjectRemote.open(bucket).create(key, b"x" * size)
    run("push", store, bucket, "--i-have-rights")
    pulled = store.parent / "pulled"
    transfer(location_of(bucket), FolderLocation(pulled))
    assert fsck(pulled).ok


@pytest.fixture
def two_parts(begin_store, make_identity, make_rows):
    folders = [begin_store(make_identity(), name) for name in ("one", "two")]
    for number, folder in enumerate(folders):
        journal = Journal.open(folder, "shard 1/1")
        journal.append(make_rows(range(10 * number, 10 * number + 4)))
        journal.publish({})
        journal.close()
    return folders


def put_nan(path):
    put_bits(path, 0, np.float16(np.nan).tobytes())


@pytest.mark.parametrize(
    ("pattern", "target"),
    [*((pattern, "new") for pattern in FILES[4:]), (FILES[-1], "existing")],
)
def test_a_merge_takes_nothing_damaged_and_then_does_nothing(two_parts, tmp_path, pattern, target):
    one, two = two_parts
    all_of_them = tmp_path / "all"
    if target == "existing":
        merge([FolderLocation(one)], FolderLocation(all_of_them, is_linked=True))
    files = sorted(all_of_them.rglob("*"))
    path = min(two.glob(pattern))
    damages = [flip, *([put_nan] if "/c/" in pattern else [])]
    for damage in damages:
        whole = {file: file.read_bytes() for file in two.rglob("*") if file.is_file()}
        damage(path)
        with pytest.raises(StoreIntegrityError, match=str(path)):
            run("merge", all_of_them, one, two)
        assert sorted(all_of_them.rglob("*")) == files
        for file, data in whole.items():
            file.write_bytes(data)
    run("merge", all_of_them, one, two)
    assert fsck(all_of_them).ok
    assert len(read_version(all_of_them).segments) == 2
