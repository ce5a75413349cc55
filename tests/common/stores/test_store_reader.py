"""What a reader sees of a store."""

from __future__ import annotations

import hashlib
import json
import struct

import numpy as np
import pytest
import zarr

from crossan.cache_schema.errors import StoreIntegrityError, StoreNotFoundError, UsageError
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, logical_digest, open_store


def test_newest_segment_wins_and_items_are_sorted(store):
    opened = open_store(store)
    assert opened.version == 2
    assert opened.item_ids.tolist() == [
        "v00000",
        "v00001",
        "v00002",
        "v00003",
        "v00004",
        "v00007",
        "v00009",
    ]
    assert opened.status.tolist() == ["ok"] * 5 + ["absent", "quarantined"]
    assert opened.presence.tolist() == [True] * 5 + [False, False]
    assert opened.reasons == [None] * 6 + ["truncated"]
    assert opened.content_digests[2] == "f" * 64
    assert opened.load()[:, 1, 0].tolist()[:5] == [0.25, 1.25, 102.25, 3.25, 4.25]


def test_pinned_version_shows_what_it_held(store):
    opened = open_store(store, version=1)
    assert len(opened.item_ids) == 6
    assert opened.read([2])[0, 0, 0] == 2.0


def test_items_without_a_row_are_nan(store):
    assert np.isnan(open_store(store).read([5, 6])).all()


def test_read_follows_rows_and_layers(store):
    opened = open_store(store)
    found = opened.read([4, 0, 4], layers=[4, 0])
    assert found[:, :, 7].tolist() == [[4.5, 4.0], [0.5, 0.0], [4.5, 4.0]]
    assert opened.read([]).shape == (0, 3, 8)


def test_load_writes_into_what_it_is_given(store):
    opened = open_store(store)
    out = np.zeros((7, 3, 8), np.float16)
    assert opened.load(out) is out
    np.testing.assert_array_equal(out, opened.read(np.arange(7)))
    with pytest.raises(
        ValueError, match=r"expected out \(7, 3, 8\) of float16, C-contiguous, found \(6, 3, 8\)"
    ):
        opened.load(np.zeros((6, 3, 8), np.float16))


def test_tombstone_takes_an_item_out(store):
    journal = Journal.open(store, "shard 1/1")
    journal.append([ItemRow("v00003", None, ItemStatus.DELETED)])
    journal.publish({})
    assert "v00003" not in open_store(store).item_ids
    assert "v00003" in open_store(store, version=2).item_ids


@pytest.mark.parametrize("rows", [[-1], [7], [0, 99]])
def test_rows_out_of_range_are_refused(store, rows):
    with pytest.raises(IndexError, match="expected rows from 0 to 6"):
        open_store(store).read(rows)


@pytest.mark.parametrize("rows", [[[0]], [0.5], [True]])
def test_rows_of_another_kind_are_refused(store, rows):
    with pytest.raises(IndexError, match="expected one dimension of whole numbers"):
        open_store(store).read(rows)


def test_layer_that_is_not_kept_is_refused(store):
    with pytest.raises(UsageError, match=r"expected layers among \[0, 2, 4\], found \[3\]"):
        open_store(store).read([0], layers=[0, 3])


def test_missing_store_and_version_are_named(store, tmp_path):
    with pytest.raises(
        StoreNotFoundError, match=r"no store at .*nowhere: expected store.json, found none"
    ):
        open_store(tmp_path / "nowhere")
    with pytest.raises(StoreNotFoundError, match="expected version 9, found versions 1 to 2"):
        open_store(store, version=9)


def test_store_without_a_version_is_refused(begin_store, make_identity):
    with pytest.raises(StoreNotFoundError, match="expected a version, found none"):
        open_store(begin_store(make_identity()))


def test_changed_identity_is_noticed(store):
    path = store / "store.json"
    path.write_text(path.read_text().replace('"max_length": 32', '"max_length": 33'))
    with pytest.raises(StoreIntegrityError, match=r"store\.json: expected SHA-256"):
        open_store(store)


def test_damaged_chunk_names_file_and_items(store):
    first_segment = json.loads((store / "versions/000001.json").read_text())["segments"][0]["id"]
    chunk = store / "segments" / first_segment / "hidden_states/c/0/0/0"
    data = bytearray(chunk.read_bytes())
    data[0] ^= 1
    chunk.write_bytes(data)
    opened = open_store(store)  # opening reads no chunk
    with pytest.raises(
        StoreIntegrityError, match=r"c/0/0/0: expected bytes with CRC32C [0-9a-f]{8}, found"
    ) as caught:
        opened.load()
    assert "4 items lie in it, first: v00000, v00001, v00003" in str(caught.value)
    assert "crossan cache fsck" in str(caught.value)


@pytest.mark.parametrize("stored_dtype", ["float16", "float32", "bfloat16"])
@pytest.mark.parametrize("codec", ["raw", "zstd", "blosc"])
def test_every_profile_reads_back_and_plain_zarr_agrees(
    begin_store, make_identity, make_rows, codec, stored_dtype
):
    folder = begin_store(make_identity(codec=codec, stored_dtype=stored_dtype))
    journal = Journal.open(folder, "shard 1/1")
    journal.append(
        [*make_rows(range(100, 140), stored_dtype), ItemRow("v00120x", None, ItemStatus.MISSING)]
    )
    journal.publish({})
    opened = open_store(folder)
    values = opened.load()
    assert values.dtype == (np.float16 if stored_dtype == "float16" else np.float32)
    assert values[opened.presence][:, 0, 0].tolist() == list(range(100, 140))
    segment = next((folder / "segments").iterdir())
    plain = zarr.open_group(segment, mode="r")["hidden_states"][:]
    rows = opened.presence.nonzero()[0]
    np.testing.assert_array_equal(plain, np.concatenate(list(opened.iter_stored()))[rows])


def test_several_chunks_are_stitched(begin_store, make_identity, make_rows):
    identity = make_identity(
        capture={"layers": [0, 1], "pooling": "cls"}, dim=256
    )  # 1,024 bytes a row
    folder = begin_store(identity)
    for start in (0, 1500):
        journal = Journal.open(folder, f"from {start}")
        journal.append(make_rows(range(start, start + 1500), dim=256, layer_count=2))
        journal.publish({})
        journal.close()
    assert (
        len(list(folder.glob("segments/*/hidden_states/c/*/0/0"))) == 4
    )  # 1,500 = 1,024 + 476, twice
    order = np.random.default_rng(0).permutation(2000)  # float16 counts exactly up to 2,048
    np.testing.assert_array_equal(open_store(folder).read(order)[:, 0, 5], order.astype(np.float16))


def test_logical_digest_forgets_how_files_are_cut(begin_store, make_identity, make_rows):
    digests = []
    for name, codec, cuts in [
        ("a", "raw", [(0, 30)]),
        ("b", "zstd", [(20, 30), (0, 20)]),
        ("c", "raw", [(0, 29)]),
    ]:
        folder = begin_store(make_identity(codec=codec), name)
        for start, stop in cuts:
            journal = Journal.open(folder, "shard 1/1")
            journal.append(make_rows(range(start, stop)))
            journal.publish({"machine": name})
            journal.close()
        digests.append(logical_digest(open_store(folder)))
    assert digests[0] == digests[1] != digests[2]


def test_logical_digest_is_the_documented_one(store):
    opened = open_store(store)
    text = b"crossan-logical-digest-1\nfloat16\n" + struct.pack("<II", 3, 8)
    for row, item_id in enumerate(opened.item_ids):
        status = opened.status[row].encode()
        text += struct.pack("<I", 6) + item_id.encode() + bytes([len(status)]) + status
        if status == b"ok":
            text += opened.read([row]).tobytes()
    assert logical_digest(opened) == hashlib.sha256(text).hexdigest()


def test_no_rows_are_read_as_none(store):
    opened = open_store(store)
    assert opened.read([]).shape == (0, len(opened.layers), opened.dim)
    assert opened.read(np.array([], np.int64), layers=opened.layers[:1]).shape == (0, 1, opened.dim)
