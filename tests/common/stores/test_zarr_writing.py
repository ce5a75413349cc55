"""Segments written through zarr-python hold the same bytes as those written by hand, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os

import numpy as np
import pytest
import zarr
from zarr.buffer.cpu import Buffer

from crossan.cache_schema.canonical import pretty_bytes
from crossan.cache_schema.errors import ResourceError, StoreIntegrityError
from crossan.cache_schema.layout import ArrayLayout, group_metadata
from crossan.common.stores.checksums import crc32c
from crossan.common.stores.segment_store import SegmentStore
from crossan.common.stores.segment_writer import write_array
from crossan.common.stores.values import encode_rows, fill_rows
from support.earlier_chunks import earlier_payload, sealed

DTYPES = ["float16", "float32", "bfloat16"]
CODECS = ["raw", "zstd", "blosc"]


def layout_of(item_count, codec="raw", stored_dtype="float16", chunk_items=4):
    return ArrayLayout(
        item_count=item_count,
        chunk_items=chunk_items,
        layer_count=3,
        dim=8,
        stored_dtype=stored_dtype,
        codec=codec,
    )


def stored_rows(item_count, stored_dtype="float16"):
    values = np.random.default_rng(item_count).normal(size=(item_count, 3, 8)).astype(np.float32)
    return encode_rows(values, stored_dtype)[0]


def written(folder, layout, rows):
    folder.mkdir()
    return write_array(folder, layout, range(len(rows)), lambda offsets: rows[list(offsets)])


@pytest.mark.parametrize("item_count", [0, 1, 8, 10, 50])
@pytest.mark.parametrize("stored_dtype", DTYPES)
@pytest.mark.parametrize("codec", CODECS)
def test_every_byte_is_the_earlier_writers(tmp_path, codec, stored_dtype, item_count):
    layout, rows = layout_of(item_count, codec, stored_dtype), stored_rows(item_count, stored_dtype)
    entries = written(tmp_path / "s", layout, rows)
    padded = np.concatenate([rows, fill_rows((-item_count % 4, 3, 8), stored_dtype)])
    expected = {
        "zarr.json": pretty_bytes(group_metadata()),
        "hidden_states/zarr.json": pretty_bytes(layout.to_zarr()),
    } | {
        f"hidden_states/c/{n}/0/0": sealed(earlier_payload(padded[4 * n : 4 * n + 4], codec))
        for n in range(layout.chunk_count)
    }
    found = {
        path.relative_to(tmp_path / "s").as_posix(): path.read_bytes()
        for path in (tmp_path / "s").rglob("*")
        if path.is_file()
    }
    assert found == expected
    assert [entry.path for entry in entries] == list(expected)
    for entry in entries:
        data = expected[entry.path]
        assert (entry.size, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert entry.crc32c == (crc32c(data[:-4]) if "/c/" in entry.path else None)


def test_a_chunk_of_nothing_but_nan_is_written_too(tmp_path):
    entries = written(tmp_path / "s", layout_of(8), fill_rows((8, 3, 8), "float16"))
    assert len(entries) == 4  # two zarr.json, two chunks


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("nth", [1, 2, 3, 13], ids=["group", "array", "first-chunk", "last-chunk"])
def test_a_full_disk_names_the_file(tmp_path, monkeypatch, nth, error):
    write, calls = os.write, []

    def full(descriptor, data):
        calls.append(descriptor)
        if len(calls) >= nth:
            raise OSError(error, os.strerror(error))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ResourceError, match=rf"while writing {tmp_path}/s/.*bytes needed"):
        written(tmp_path / "s", layout_of(44), stored_rows(44))


def test_an_error_of_the_rows_ends_the_threads(tmp_path):
    (tmp_path / "s").mkdir()

    def read_rows(offsets):
        if offsets[0]:
            raise OSError(errno.EIO, "expected a whole row")
        return stored_rows(4)

    with pytest.raises(OSError, match="expected a whole row"):
        write_array(tmp_path / "s", layout_of(8), range(8), read_rows)
    with SegmentStore(tmp_path / "s", layout_of(8)) as store:
        pass
    with pytest.raises(RuntimeError, match="after shutdown"):
        put(store, "hidden_states/c/0/0/0", sealed(bytes(192)))


def put(store, key, data):
    asyncio.run(store.set(key, Buffer.from_bytes(data)))


@pytest.fixture
def segment(tmp_path):
    with SegmentStore(tmp_path, layout_of(8)) as store:
        yield store


@pytest.mark.parametrize(
    "key",
    ["zarr.json.tmp", "../x", "hidden_states/c/2/0/0", "hidden_states/c/0/0/1", "items.parquet"],
)
def test_another_key_is_refused(segment, key):
    with pytest.raises(StoreIntegrityError, match="found it writing something else"):
        put(segment, key, sealed(bytes(192)))
    assert not list(segment.folder.rglob("*"))


def test_a_key_is_written_once(segment):
    put(segment, "zarr.json", pretty_bytes(group_metadata()))
    put(segment, "hidden_states/c/0/0/0", sealed(bytes(192)))
    for key in ("zarr.json", "hidden_states/c/0/0/0"):
        with pytest.raises(StoreIntegrityError, match=f"{key}: expected zarr to write 2 chunks"):
            put(segment, key, b"{}")
        with pytest.raises(StoreIntegrityError, match="expected to keep it"):
            asyncio.run(segment.delete(key))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (sealed(bytes(190)), "expected zarr to write 192 bytes of rows, found 190"),
        (bytes(196), "expected zarr to end the chunk with CRC32C [0-9a-f]{8}, found 00000000"),
    ],
)
def test_a_chunk_that_no_reader_would_take_is_refused(segment, data, message):
    put(segment, "hidden_states/c/0/0/0", data)
    with pytest.raises(StoreIntegrityError, match=f"c/0/0/0: {message}"):
        segment.finish()


def test_a_packed_chunk_that_no_reader_would_take_is_refused(tmp_path):
    with SegmentStore(tmp_path, layout_of(8, "zstd")) as store:
        put(store, "hidden_states/c/0/0/0", sealed(earlier_payload(stored_rows(8), "zstd")))
        with pytest.raises(StoreIntegrityError, match="expected to decode to 192 bytes, found 384"):
            store.finish()


def test_other_metadata_is_refused(segment):
    group = zarr.create_group(segment, zarr_format=3)
    with pytest.raises(
        StoreIntegrityError, match="hidden_states/zarr.json: expected zarr to write"
    ):
        group.create_array("hidden_states", shape=(8, 3, 8), chunks=(4, 3, 8), dtype="float16")
    assert not (segment.folder / "hidden_states").exists()


def test_a_file_that_zarr_leaves_out_is_noticed(segment):
    put(segment, "zarr.json", pretty_bytes(group_metadata()))
    put(segment, "hidden_states/zarr.json", pretty_bytes(layout_of(8).to_zarr()))
    put(segment, "hidden_states/c/1/0/0", sealed(bytes(192)))
    with pytest.raises(StoreIntegrityError, match=r"found 1 missing, first: hidden_states/c/0/0/0"):
        segment.finish()
