"""A pull or push brings back the folders of a store in whose place something else lies."""

from __future__ import annotations

import os
import shutil

import pytest

from crossan.common.stores import fsck, logical_digest, open_store
from crossan.common.stores.sharing.locations import FolderLocation
from crossan.common.stores.sharing.transfer import transfer


@pytest.fixture
def copy(store, tmp_path):
    transfer(FolderLocation(store), FolderLocation(tmp_path / "copy"))
    return tmp_path / "copy"


IN_ITS_PLACE = {
    "nothing": lambda folder: None,
    "a file": lambda folder: folder.touch(),
    "a named pipe": os.mkfifo,
    "a link to nowhere": lambda folder: folder.symlink_to("nowhere"),
}


@pytest.mark.parametrize("kind", IN_ITS_PLACE)
@pytest.mark.parametrize(
    "pattern", ["versions", "segments", "canary", "staging", "segments/*", "segments/*/*/c"]
)
def test_a_folder_that_is_none_any_more_comes_back(store, copy, pattern, kind):
    before = logical_digest(open_store(store))
    folder = min(copy.glob(pattern))
    shutil.rmtree(folder)
    if pattern == "staging" and kind.startswith("a link"):
        kind = "a file"  # a linked folder for what is being written is nobody's damage
    IN_ITS_PLACE[kind](folder)
    transfer(FolderLocation(store), FolderLocation(copy))
    assert fsck(copy).ok, fsck(copy).problems
    assert logical_digest(open_store(copy)) == before
    assert not folder.is_symlink()


def test_what_lay_there_is_kept(store, copy):
    shutil.rmtree(copy / "versions")
    (copy / "versions").write_text("mine")
    done = transfer(FolderLocation(store), FolderLocation(copy))
    assert done.mended == ("versions",)
    (kept,) = (copy / "staging").glob("damaged-versions-*")
    assert kept.read_text() == "mine"


def test_a_segment_that_is_nowhere_any_more_is_said(store, copy, append, capsys):
    append(copy, range(20, 22))
    (own,) = {path.name for path in (copy / "segments").iterdir()} - {
        path.name for path in (store / "segments").iterdir()
    }
    shutil.rmtree(copy / "segments" / own)
    transfer(FolderLocation(store), FolderLocation(copy))
    assert f"segment {own} is gone, and {store} does not have it" in capsys.readouterr().err
