"""A damaged store is brought back: restored where that can be, let go where it cannot."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.stores import Journal, fsck, logical_digest, open_store
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.growing.repair import repair

CANARY = np.zeros((4, 3, 8), np.float32)


def flip(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def files_of(store):
    return sorted(
        path.relative_to(store).as_posix()
        for path in store.rglob("*")
        if path.is_file() and path.relative_to(store).parts[0] not in {"staging", "pins"}
    )


@pytest.mark.parametrize(
    "pattern",
    ["store.json", "canary/features.npy", "versions/000001.json", "versions/000002.json", "segments/*/zarr.json",
     "segments/*/hidden_states/zarr.json"],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["flip", "empty", "delete"])
def test_what_follows_from_the_rest_is_restored(store, make_identity, pattern, damage):
    before = logical_digest(open_store(store))
    path = sorted(store.glob(pattern))[0]
    {"flip": flip, "empty": lambda p: p.write_bytes(b""), "delete": lambda p: p.unlink()}[damage](
        path
    )
    done = repair(store, make_identity(), CANARY)
    assert done.restored
    assert not done.dropped_segments
    report = fsck(store)
    assert report.ok, report.problems
    assert logical_digest(open_store(store)) == before


@pytest.mark.parametrize("name", ["items.parquet", "segment.json"])
def test_a_segment_without_a_sound_index_is_let_go(store, make_identity, name):
    first = open_store(store).records[0].segment_id
    flip(store / "segments" / first / name, 40)
    done = repair(store, make_identity(), CANARY)
    assert done.dropped_segments == [first]
    assert fsck(store).ok
    assert open_store(store).item_ids.tolist() == ["v00002", "v00009"]


def test_a_damaged_chunk_costs_the_items_in_it_alone(begin_store, make_identity, make_rows):
    folder = begin_store(make_identity())
    journal = Journal.open(folder, "j")
    journal.append(make_rows(range(2_500)))  # chunks of 859 items
    journal.publish({})
    journal.append(make_rows(range(900, 902)))
    journal.publish({})
    path = folder / "segments" / open_store(folder).records[0].segment_id / "hidden_states/c/1/0/0"
    flip(path, 100)
    done = repair(folder, make_identity(), CANARY)
    assert done.rescued_items == 2_500 - 859
    assert done.lost_items == [f"v{n:05d}" for n in range(859, 1_718)]
    opened = open_store(folder)
    assert len(opened.item_ids) == 2_500 - 859 + 2  # of the 859 two lie in the later segment too
    assert opened.read([0])[0, 0, 0] == 0
    assert opened.read([len(opened.item_ids) - 1])[0, 0, 0] == 2_499 or opened.dtype == np.float16
    assert fsck(folder).ok


def test_a_lost_newest_manifest_is_made_again(store, make_identity):
    before = open_store(store)
    (store / "versions/000002.json").unlink()
    assert {problem.code for problem in fsck(store).problems} == {"unlisted-segment"}
    repair(store, make_identity(), CANARY)
    assert open_store(store).manifest_digest == before.manifest_digest


def test_strangers_are_moved_out(store, make_identity):
    folder = store / "segments" / open_store(store).records[0].segment_id
    (folder / "notes.txt").write_text("mine")
    (folder / "hidden_states/c/0/0/1").symlink_to("/etc/passwd")
    repair(store, make_identity(), CANARY)
    assert fsck(store).ok
    assert any(
        path.read_text() == "mine" for path in (store / "staging").glob("stranger-*notes.txt")
    )


def test_other_options_cannot_restore_the_identity(store, make_identity):
    (store / "store.json").unlink()
    with pytest.raises(
        StoreIntegrityError, match="found what this command's options do not give either"
    ):
        repair(store, make_identity(codec="zstd"), CANARY)


def test_a_history_that_cannot_be_told_is_refused(store, make_identity, make_rows):
    compact(store, "test")
    shutil.rmtree(store / "versions")
    (store / "versions").mkdir()
    repair(store, make_identity(), CANARY)  # a new history of what lies there
    assert fsck(store).ok
    assert len(open_store(store).item_ids) == 7


def test_a_sound_store_is_left_as_it_is(store, make_identity):
    before = {name: (store / name).read_bytes() for name in files_of(store)}
    done = repair(store, make_identity(), CANARY)
    assert (
        done.to_text()
        == "0 files restored, 0 segments dropped, 0 of their items rescued, 0 to be computed again"
    )
    assert {name: (store / name).read_bytes() for name in files_of(store)} == before
