"""Item indexes that ask for far more than their size are refused before a row is read."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.modality import ItemStatus
from crossan.cache_schema.segment import SegmentRecord
from crossan.common.stores import fsck, open_store
from crossan.common.stores.item_index import index_bytes, parse_items, read_texts
from crossan.common.stores.records import StagedItem
from support.redigest import redigest

MOST_MEMORY = 64 * 2**20


def repeated(value, count):
    """Return a column of one value, which takes a few bytes however often it is repeated."""
    return pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(count, np.int32)), pa.array([value], pa.string())
    )


def parquet_of(**columns):
    count = len(next(iter(columns.values())))
    nothing = pa.nulls(count, pa.string())
    plain = {
        "item_id": pa.array([f"v{n}" for n in range(count)]) if count < 10_000 else nothing,
        "content_digest": nothing,
        "status": repeated("absent", count),
        "reason": nothing,
        "row": pa.nulls(count, pa.int64()),
    }
    out = io.BytesIO()
    pq.write_table(pa.table({**plain, **columns}), out, compression="zstd")
    return out.getvalue()


def record_of(items):
    return SegmentRecord(segment_id="", fingerprint="", item_count=items, row_count=0, files=())


LONG = "x" * 2**20
BOMBS = {
    "twenty million items": lambda: parquet_of(item_id=repeated("v", 20_000_000)),
    "three million items": lambda: parquet_of(item_id=repeated("v", 3_000_000)),
    "long ids": lambda: parquet_of(item_id=repeated(LONG, 2_000)),
    "long statuses": lambda: parquet_of(status=repeated(LONG, 2_000)),
    "long reasons": lambda: parquet_of(reason=repeated(LONG, 2_000)),
    "long digests": lambda: parquet_of(content_digest=repeated(LONG, 2_000)),
    "an id that is long in itself": lambda: parquet_of(item_id=pa.array(["x" * 1_025, "y"])),
    "numbers for ids": lambda: parquet_of(item_id=pa.array([1, 2])),
    "lists for reasons": lambda: parquet_of(reason=pa.array([["a"], ["b"]])),
    "structures for digests": lambda: parquet_of(content_digest=pa.array([{"a": 1}, {"a": 2}])),
    "bytes for ids": lambda: parquet_of(item_id=pa.array([b"a", b"b"])),
    "texts for rows": lambda: parquet_of(row=pa.array(["a", "b"])),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_index_that_asks_for_too_much_is_refused(bomb):
    data = BOMBS[bomb]()
    count = pq.ParquetFile(io.BytesIO(data)).metadata.num_rows
    allocated = pa.default_memory_pool().bytes_allocated()
    tracemalloc.start()
    try:
        with pytest.raises(StoreIntegrityError, match=r"items\.parquet: expected"):
            parse_items(data, record_of(count), "items.parquet")
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert pa.default_memory_pool().bytes_allocated() - allocated < MOST_MEMORY


def test_a_store_with_such_an_index_is_refused_and_named(store):
    path = min(store.glob("segments/*/items.parquet"))
    path.write_bytes(BOMBS["twenty million items"]())
    assert path.stat().st_size < 700_000
    redigest(store)
    with pytest.raises(StoreIntegrityError, match=r"items\.parquet"):
        open_store(store)
    assert [problem.where for problem in fsck(store).problems] == [str(path)]


@pytest.mark.parametrize("count", [0, 1, 3, 1_000, 100_000])
def test_what_our_writer_writes_is_within_the_bounds(count):
    """Running numbers without digests pack best of all."""
    items = [StagedItem(f"{n:09d}", None, ItemStatus.ABSENT, None, None) for n in range(count)]
    assert len(parse_items(index_bytes(items), record_of(count), "x").item_ids) == count


def test_long_reasons_of_real_items_are_read():
    items = [
        StagedItem(str(n), None, ItemStatus.QUARANTINED, f"{n}: " + "why " * 500, None)
        for n in range(3)
    ]
    data = index_bytes(items)
    parse_items(data, record_of(3), "x")
    assert read_texts(data, "reason") == [item.reason for item in items]


def test_texts_that_are_no_utf8_are_refused():
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    for name in ("reason", "content_digest"):
        data = parquet_of(**{name: broken})
        with pytest.raises(StoreIntegrityError, match="UTF8"):
            parse_items(data, record_of(1), "items.parquet").texts(name)
    with pytest.raises(StoreIntegrityError, match="UTF8"):
        parse_items(parquet_of(item_id=broken), record_of(1), "items.parquet")
