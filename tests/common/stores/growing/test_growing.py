"""Compacting, collecting and pinning."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crossan.cache_schema.errors import BusyError, StoreIntegrityError
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, fsck, logical_digest, open_store
from crossan.common.stores.describing.info import describe
from crossan.common.stores.describing.licences import licences_of, restrictions
from crossan.common.stores.growing.collect import collect
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.pins import pin_version, pinned_versions
from crossan.common.stores.versions import read_version


def append(path, rows, producer=None):
    journal = Journal.open(path, "shard 1/1")
    journal.append(rows)
    version = journal.publish(producer or {})
    journal.close()
    return version


def test_compaction_changes_no_item(store):
    before, values = logical_digest(open_store(store)), open_store(store).load()
    made = compact(store, "test")
    assert (made.version, len(made.segments)) == (3, 1)
    opened = open_store(store)
    assert logical_digest(opened) == before
    np.testing.assert_array_equal(opened.load(), values)
    assert opened.reasons[-1] == "truncated"
    assert fsck(store).ok
    assert not list((store / "staging").iterdir())


def test_one_segment_is_compact(store):
    compact(store, "test")
    assert compact(store, "test") is None


def test_compaction_lists_who_made_what_it_gathers(store, make_rows):
    of_all = {"dataset": "toys", "backbone_licence": "MIT"}
    free = {**of_all, "data_licence": "CC0-1.0", "torch": "2.1"}
    restricted = {**of_all, "data_licence": "for research only", "torch": "2.2"}
    for number, producer in enumerate((free, restricted, free)):
        append(store, make_rows(range(10 + number, 11 + number)), {**producer, "seconds": 1.5})
    first, second, third = (record.segment_id for record in open_store(store).records[2:])
    licences, reasons = licences_of(store), restrictions(store)
    assert licences == {"backbone": "MIT", "data": "CC0-1.0; for research only"}
    assert reasons == [
        "data licence CC0-1.0; for research only: it restricts who may use it",
    ]
    compact(store, "1.0")
    append(store, make_rows(range(14, 15)), {**free, "seconds": 4})
    fourth = open_store(store).records[-1].segment_id
    compact(store, "1.0")  # of a compaction
    described = describe(store)
    assert (described["licences"], restrictions(store)) == (licences, reasons)
    assert described["dataset"] == "toys"
    assert [producer["torch"] for producer in described["producers"]] == ["2.1", "2.2"]
    gathered = open_store(store).records[0].producer["gathered"]
    assert gathered[-2:] == [
        {**free, "seconds": 7.0, "segments": [first, third, fourth]},
        {**restricted, "seconds": 1.5, "segments": [second]},
    ]


def test_compaction_forgets_what_tombstones_hide_but_keeps_the_tombstones(store):
    append(store, [ItemRow("v00001", None, ItemStatus.DELETED)])
    compact(store, "test")
    assert "v00001" not in open_store(store).item_ids
    assert open_store(store).deleted_ids.tolist() == ["v00001"]
    assert open_store(store).records[0].row_count == 4


def test_what_is_appended_during_a_compaction_stays_and_wins(store, make_rows, monkeypatch):
    from crossan.common.stores.growing import compact as module

    write = module.write_segment

    def write_while_another_appends(*arguments):
        append(
            store,
            [ItemRow("v00001", "9" * 64, ItemStatus.OK, row=make_rows(range(500, 501))[0].row)],
        )
        return write(*arguments)

    monkeypatch.setattr(module, "write_segment", write_while_another_appends)
    made = compact(store, "test")
    assert (made.version, len(made.segments)) == (4, 2)
    assert open_store(store).read([1])[0, 0, 0] == 500


def test_two_compactions_at_once_are_told_apart(store, monkeypatch):
    from crossan.common.stores.growing import compact as module

    write = module.write_segment

    def write_while_another_compacts(*arguments):
        monkeypatch.setattr(module, "write_segment", write)
        compact(store, "test")
        return write(*arguments)

    before = logical_digest(open_store(store))
    monkeypatch.setattr(module, "write_segment", write_while_another_compacts)
    with pytest.raises(BusyError, match="found them rearranged by another process"):
        compact(store, "test")
    assert logical_digest(open_store(store)) == before


def test_collection_keeps_the_last_versions_whole(store):
    compact(store, "test")
    assert collect(store, keep=3).segments == ()
    dry = collect(store, keep=1, is_dry=True)
    assert len(dry.segments) == 2
    assert dry.byte_count > 0
    assert read_version(store).version == 3
    assert collect(store, keep=1).segments == dry.segments
    assert len(list((store / "segments").iterdir())) == 1
    assert read_version(store).dropped == dry.segments
    assert fsck(store).ok
    assert collect(store, keep=1).segments == ()


def test_a_run_keeps_its_version(store, tmp_path):
    lock = tmp_path / "run" / "cache.lock.json"
    lock.parent.mkdir()
    lock.write_text("{}")
    pin_version(store, 1, lock)
    compact(store, "test")
    assert len(collect(store, keep=1).segments) == 1  # version 1 needs the first of the two
    assert len(open_store(store, 1).item_ids) == 6
    lock.unlink()
    assert pinned_versions(store) == []
    assert len(collect(store, keep=1).segments) == 1


def test_runs_that_could_not_note_their_version_are_found_in_their_folders(store, tmp_path):
    lock = tmp_path / "runs" / "x" / "cache.lock.json"
    lock.parent.mkdir(parents=True)
    lock.write_text(
        json.dumps({"stores": {"text": {"store": str(store), "version": 2, "fingerprint": "f"}}})
    )
    compact(store, "test")
    assert collect(store, keep=1, runs=[tmp_path / "runs"]).segments == ()
    lock.write_text("no json")
    with pytest.raises(
        StoreIntegrityError, match=r"cache.lock.json: expected stores with their versions"
    ):
        collect(store, keep=1, runs=[tmp_path / "runs"])


def test_an_open_reader_outlives_a_collection(store):
    opened = open_store(store, 2)
    compact(store, "test")
    collect(store, keep=1)
    np.testing.assert_array_equal(opened.load(), open_store(store).load())
    np.testing.assert_array_equal(opened.read([0, 2]), open_store(store).read([0, 2]))


def test_unpublished_work_is_not_collected(store, make_rows):
    journal = Journal.open(store, "shard 2/2")
    journal.append(make_rows(range(80, 82)))
    assert collect(store, keep=1).segments == ()
    journal.publish({})
    journal.close()
    assert len(open_store(store).item_ids) == 9
