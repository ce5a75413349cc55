"""Stores that went apart, were compacted, collected, damaged, and come together: the row written last wins everywhere."""

from __future__ import annotations

import time

import numpy as np
import pytest

from crossan.common.stores import create_store, fsck, logical_digest, open_store
from crossan.common.stores.growing.collect import collect
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.growing.repair import repair
from crossan.common.stores.sharing.locations import FolderLocation
from crossan.common.stores.sharing.transfer import transfer
from crossan.common.stores.versions import read_version


def pull(source, target):
    return transfer(FolderLocation(source), FolderLocation(target), is_source_first=True)


def push(source, target):
    return transfer(FolderLocation(source), FolderLocation(target))


def digest_of(path):
    assert fsck(path).ok
    return logical_digest(open_store(path))


@pytest.mark.parametrize("is_pull", [True, False])
def test_a_compaction_does_not_hide_what_came_after_what_it_gathered(
    store, append, tmp_path, is_pull
):
    """Ada compacts and collects; Ben, who has the originals, changes an item: Ada gets his change, as a pull or a push."""
    ben = tmp_path / "b"
    pull(store, ben)
    compact(store, "test")
    collect(store, keep=1)
    append(ben, [2], [9])
    (pull if is_pull else push)(ben, store)
    ours, theirs = open_store(store), open_store(ben)
    assert ours.item_ids.tolist() == theirs.item_ids.tolist()
    np.testing.assert_array_equal(ours.load(), theirs.load())
    assert len(ours.records) == 2


def test_an_older_compaction_elsewhere_does_not_hide_what_a_newer_one_gathered(
    store, append, tmp_path
):
    """Ada compacts, pushes, changes an item, collects, compacts again: a pull leaves her change as it is."""
    remote, ben = tmp_path / "remote", tmp_path / "b"
    push(store, remote)
    pull(remote, ben)
    append(ben, range(70, 72))
    push(ben, remote)  # from here on Ada's pushes make versions of both
    append(store, [2], [9])
    push(store, remote)
    append(store, [3], [8])
    compact(store, "test")
    push(store, remote)
    append(store, [2], [7])
    collect(store, keep=1)
    compact(store, "test")
    pull(remote, store)
    opened = open_store(store)
    assert opened.read([2, 3])[:, 0, 0].tolist() == [7, 8]
    assert "v00070" in opened.item_ids
    assert len(opened.records) == 2


def test_a_compaction_after_a_repair_does_not_hide_what_comes_back(store, append, tmp_path):
    ben = tmp_path / "b"
    pull(store, ben)
    damaged = open_store(store).records[-1]  # holds item 2 with 102's values
    chunk = store / "segments" / damaged.segment_id / damaged.chunks[0].path
    chunk.unlink()  # it is linked from the other store
    chunk.write_bytes(b"\0" * damaged.chunks[0].size)
    repair(store, open_store(store).identity, np.load(store / "canary/features.npy"))
    append(store, [3], [8])
    append(store, [4], [9])
    compact(store, "test")
    assert [len(record.rescued) for record in open_store(store).records] == [1]
    pull(ben, store)
    assert open_store(store).read([2, 3, 4])[:, 0, 0].tolist() == [102, 8, 9]
    before = digest_of(store)
    compact(store, "test")
    assert (digest_of(store), len(open_store(store).records)) == (before, 1)


def test_a_compaction_of_what_lies_on_both_sides_of_a_teammates_segment_does_not_hide_it(
    store, append, tmp_path
):
    """Ada compacts Ben's old row with her new one; on the remote Ben's new row lies between the two."""
    remote, ben = tmp_path / "remote", tmp_path / "b"
    create_store(ben, open_store(store).identity, np.load(store / "canary/features.npy"))
    append(ben, [5], [50])
    push(ben, remote)
    pull(remote, store)
    compact(store, "test")  # her rows and Ben's 50
    append(ben, [5], [60])
    append(store, [6], [70])
    collect(store, keep=1)
    push(ben, remote)
    push(store, remote)
    compact(store, "test")
    pull(remote, store)
    for path in (store, remote):
        assert open_store(path).read([5, 6])[:, 0, 0].tolist() == [60, 70]
    assert digest_of(store) == digest_of(remote)


def test_two_who_compacted_apart_keep_the_news_of_both(store, append, tmp_path):
    """Of the two compactions each holds a row that the other one has a newer state of: no order of them is right."""
    remote, ben = tmp_path / "remote", tmp_path / "b"
    push(store, remote)
    pull(remote, ben)
    append(store, [0], [50])
    append(ben, [1], [60])
    for path in (store, ben):
        compact(path, "test")
        collect(path, keep=1)
        push(path, remote)
    for path in (store, ben):
        pull(remote, path)
    assert len(open_store(remote).records) == 2  # the two compactions
    compact(remote, "test")
    for path in (store, ben, remote):
        assert open_store(path).read([0, 1, 2])[:, 0, 0].tolist() == [50, 60, 102]
    assert digest_of(store) == digest_of(ben) == digest_of(remote)


def test_a_clock_that_is_behind_does_not_hide_what_it_writes(store, append, tmp_path, monkeypatch):
    """Ben's clock stands in the past; he knows Ada's rows, so what he writes wins over them."""
    ben = tmp_path / "b"
    pull(store, ben)
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)  # 2001
    append(ben, [2], [9])
    compact(store, "test")
    pull(ben, store)
    assert open_store(store).read([2])[0, 0, 0] == open_store(ben).read([2])[0, 0, 0] == 9


def test_what_was_collected_and_then_lost_comes_back_under_a_new_id(store, tmp_path):
    """Ada's compaction is damaged after the segments it gathered were collected: Ben still has those."""
    ben = tmp_path / "b"
    pull(store, ben)
    before = digest_of(store)
    compact(store, "test")
    collect(store, keep=1)
    damaged = open_store(store).records[0]
    (store / "segments" / damaged.segment_id / damaged.chunks[0].path).write_bytes(
        b"\0" * damaged.chunks[0].size
    )
    repair(store, open_store(store).identity, np.load(store / "canary/features.npy"))
    assert digest_of(store) != before
    assert pull(ben, store).segments == 2
    assert digest_of(store) == before
    assert not {record.segment_id for record in open_store(store).records} & set(
        read_version(store).dropped
    )
    assert pull(ben, store).segments == 0
