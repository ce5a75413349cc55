"""Every damage is reported, by the name of the file it is in."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from crossan.cache_schema.canonical import pretty_bytes
from crossan.cache_schema.errors import StoreIntegrityError, StoreNotFoundError
from crossan.cache_schema.modality import ItemStatus
from crossan.cache_schema.segment import SegmentRecord
from crossan.common.files import read_regular
from crossan.common.stores import Journal, fsck, open_store, verify
from crossan.common.stores.item_index import index_bytes, parse_items
from crossan.common.stores.records import StagedItem

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


def first(store, pattern):
    return min(store.glob(pattern))


def names(report):
    return {problem.where for problem in report.problems}


def test_sound_store_has_no_problem(store):
    quick, deep = verify(store), fsck(store)
    assert quick.to_dict() | {"bytes_read": 0} == {
        "ok": True,
        "problems": [],
        "items": 7,
        "segments": 2,
        "bytes_read": 0,
    }
    every_byte = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    assert deep.ok
    assert deep.bytes_read == every_byte
    chunks = sum(path.stat().st_size for path in store.glob("segments/*/hidden_states/c/*/0/0"))
    assert quick.bytes_read == every_byte - chunks


@pytest.mark.parametrize("pattern", FILES)
def test_a_flipped_bit_is_named(store, pattern):
    path = first(store, pattern)
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole), 8).tolist():
        data = bytearray(whole)
        data[place] ^= 1 << (place % 8)
        path.write_bytes(data)
        assert str(path) in names(fsck(store)), f"bit {place % 8} of byte {place}"
    path.write_bytes(whole)
    assert fsck(store).ok


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "deleted"])
def test_a_damaged_file_is_named_by_verify_already(store, pattern, damage):
    path = first(store, pattern)
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if damage == "truncated" else b"")
    report = verify(store)
    assert not report.ok
    where = names(report)
    if (
        pattern == "versions/000002.json" and damage == "deleted"
    ):  # nobody else knows its name, but its segment lies there
        assert any(problem.code == "unlisted-segment" for problem in report.problems)
    elif pattern == "versions/000001.json" and damage == "deleted":
        assert report.problems[0].code == "broken-chain"
        assert str(path) in where
    else:
        assert str(path) in where
    assert all(problem.remedy for problem in report.problems)


def test_swapped_chunks_are_named(begin_store, make_identity, make_rows):
    folder = begin_store(make_identity(capture={"layers": [0]}, dim=512))  # 1,024 bytes a row
    journal = Journal.open(folder, "shard 1/1")
    journal.append(make_rows(range(2048), dim=512, layer_count=1))
    journal.publish({})
    one, two = sorted(folder.glob("segments/*/hidden_states/c/*/0/0"))
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)
    assert verify(folder).ok  # same sizes, and each file's own tail fits it
    report = fsck(folder)
    assert names(report) == {str(one), str(two)}
    assert {problem.code for problem in report.problems} == {"wrong-crc"}
    with pytest.raises(StoreIntegrityError, match="c/0/0/0: expected bytes with CRC32C"):
        open_store(folder).load()


@pytest.mark.parametrize("damage", ["truncated", "empty", "deleted"])
def test_reader_names_a_chunk_of_another_size(store, damage):
    path = first(store, "segments/*/hidden_states/c/0/0/0")
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:20] if damage == "truncated" else b"")
    with pytest.raises(
        StoreIntegrityError,
        match=r"c/0/0/0: expected [0-9,]+ bytes, found (no such file|20 bytes|0 bytes)",
    ):
        open_store(store).load()


@pytest.mark.parametrize("pattern", FILES[2:8])
def test_opening_checks_all_metadata(store, pattern):
    path = first(store, pattern)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(StoreIntegrityError, match=path.name):
        open_store(store)


@pytest.mark.parametrize("pattern", FILES)
def test_symbolic_links_are_refused(store, tmp_path, pattern):
    path = first(store, pattern)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    report = fsck(store)
    assert str(path) in names(report)
    assert any("symbolic link" in problem.what for problem in report.problems)


def test_linked_folder_is_refused(store, tmp_path):
    chunks = first(store, "segments/*/hidden_states/c")
    shutil.move(chunks, tmp_path / "elsewhere")
    chunks.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        StoreIntegrityError, match="expected a plain file or folder, found a symbolic link"
    ):
        open_store(store).load()


def test_folder_in_place_of_a_file_is_refused(store):
    (store / "store.json").unlink()
    (store / "store.json").mkdir()
    with pytest.raises(StoreIntegrityError, match=r"store\.json: expected a file, found a folder"):
        read_regular(store, "store.json")


def test_gap_in_the_chain_is_named(store, make_rows):
    journal = Journal.open(store, "shard 1/1")
    journal.append(make_rows(range(60, 61)))
    journal.publish({})
    (store / "versions/000002.json").unlink()
    with pytest.raises(
        StoreIntegrityError,
        match=r"000002\.json: expected a manifest, found nothing, though 000003",
    ):
        open_store(store)


def test_manifest_of_another_history_is_named(store, begin_store, make_identity, make_rows):
    other = begin_store(make_identity(), "other")
    journal = Journal.open(other, "shard 1/1")
    journal.append(make_rows(range(3)))
    journal.publish({})
    shutil.copy(other / "versions/000001.json", store / "versions/000001.json")
    with pytest.raises(StoreIntegrityError, match=r"000002\.json: expected the parent"):
        open_store(store)


def test_manifest_under_another_name_or_spelling_is_named(store):
    path = store / "versions/000002.json"
    shutil.copy(path, store / "versions/000003.json")
    with pytest.raises(StoreIntegrityError, match=r"000003\.json: expected version 3, found 2"):
        open_store(store)
    (store / "versions/000003.json").unlink()
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(StoreIntegrityError, match="expected JSON as crossan writes it"):
        open_store(store)


def test_stray_file_in_a_segment_is_named(store):
    stray = first(store, "segments/*") / "hidden_states/c/7"
    stray.write_bytes(b"x")
    report = verify(store)
    assert [(problem.code, problem.where) for problem in report.problems] == [
        ("unlisted-file", str(stray))
    ]


def test_begun_store_is_sound_and_no_store_is_an_error(begin_store, make_identity, tmp_path):
    assert fsck(begin_store(make_identity())).to_dict()["ok"]
    with pytest.raises(StoreNotFoundError, match="no store at"):
        verify(tmp_path / "nowhere")


def test_item_index_that_contradicts_itself_is_refused(store):
    record = open_store(store).records[0]
    good = (store / "segments" / record.segment_id / "items.parquet").read_bytes()
    with pytest.raises(StoreIntegrityError, match="expected a Parquet file of item_id"):
        parse_items(b"PAR1 not at all PAR1", record, "items.parquet")
    record = type(record)(
        segment_id=record.segment_id,
        fingerprint="",
        item_count=9,
        row_count=5,
        files=(),
        producer={},
    )
    with pytest.raises(StoreIntegrityError, match=r"expected 9 items with .*found 6"):
        parse_items(good, record, "items.parquet")


@pytest.mark.parametrize("stamp", [None, -1, 8])
def test_item_index_whose_stamps_contradict_the_segment_is_refused(stamp):
    items = [StagedItem(item_id, None, ItemStatus.ABSENT, None, None, 5) for item_id in "ab"]
    record = SegmentRecord(
        segment_id="", fingerprint="", item_count=3, row_count=0, files=(), stamp=7
    )
    good = index_bytes([*items, StagedItem("c", None, ItemStatus.ABSENT, None, None, 7)])
    assert parse_items(good, record, "items.parquet").stamps.tolist() == [5, 5, 7]
    bad = index_bytes([*items, StagedItem("c", None, ItemStatus.ABSENT, None, None, stamp)])
    with pytest.raises(
        StoreIntegrityError, match="expected stamps from 0 to the segment's 7, found"
    ):
        parse_items(bad, record, "items.parquet")


def test_json_is_what_the_report_says(store):
    (store / "canary/features.npy").write_bytes(b"")
    value = verify(store).to_dict()
    assert set(value) == {"ok", "problems", "items", "segments", "bytes_read"}
    assert set(value["problems"][0]) == {"code", "where", "what", "remedy"}
    assert pretty_bytes(value)
