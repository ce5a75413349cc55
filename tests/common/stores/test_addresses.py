"""Where chunks are mapped: large ones at huge pages, and the same rows wherever that is."""

from __future__ import annotations

import mmap
import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import ArrayLayout
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import ItemRow, Journal, create_store, open_store
from crossan.common.stores.addresses import chunk_starts

HUGE = 2 * 2**20


def layouts_of(page_counts, layer_count, dim):
    """Return layouts of chunks of so many times the least whole pages of their rows."""
    row_bytes = 2 * layer_count * dim
    least = mmap.PAGESIZE // np.gcd(mmap.PAGESIZE, row_bytes)
    return [
        ArrayLayout(
            item_count=1, chunk_items=int(least) * count, layer_count=layer_count, dim=dim,
            stored_dtype="float16", codec="raw",
        )
        for count in page_counts
    ]  # fmt: skip


shapes = {
    "page_counts": st.lists(st.integers(1, 900), min_size=1, max_size=20),
    "layer_count": st.integers(1, 13),
    "dim": st.sampled_from([8, 20, 64, 100, 768, 1024]),
}


@given(**shapes)
def test_large_chunks_begin_at_huge_pages_and_none_overlap(page_counts, layer_count, dim):
    layouts = layouts_of(page_counts, layer_count, dim)
    starts, end = chunk_starts(layouts, has_gaps=True)
    for layout, start, following in zip(layouts, starts, [*starts[1:], end], strict=True):
        assert start + layout.chunk_bytes <= following
        assert start % mmap.PAGESIZE == 0
        assert start % layout.row_bytes == 0  # so that a row of a chunk is a row of the range
        if layout.chunk_bytes >= HUGE:
            assert start % HUGE == 0


@given(**shapes)
def test_without_gaps_each_begins_where_the_one_before_ends(page_counts, layer_count, dim):
    layouts = layouts_of(page_counts, layer_count, dim)
    starts, end = chunk_starts(layouts, has_gaps=False)
    assert [*starts, end] == np.cumsum([0, *(layout.chunk_bytes for layout in layouts)]).tolist()


def test_gaps_are_left_out_where_they_would_take_all_addresses():
    # Rows of 4,099 values, a prime: 8 GiB from one huge page that a row begins at to the next.
    layouts = layouts_of([1] * 40, layer_count=1, dim=4_099)
    assert chunk_starts(layouts, has_gaps=True) == chunk_starts(layouts, has_gaps=False)
    few = layouts[:3]
    assert chunk_starts(few, has_gaps=True)[0] == [0, 4_099 * HUGE, 2 * 4_099 * HUGE]


@pytest.fixture(scope="module")
def large_store(tmp_path_factory):
    """A store of chunks of 5, 5 and 0.6 MB, and its values."""
    folder = tmp_path_factory.mktemp("addresses") / "store"
    capture = {"layers": [0, 2, 5], "pooling": "cls"}
    identity = StoreIdentity(
        modality=Modality.TEXT, backbone={"id": "b"}, inputs={}, capture=capture, dim=1024
    )
    create_store(folder, identity, np.zeros((4, 3, 1024), np.float32))
    values = np.random.default_rng(0).normal(size=(1_700, 3, 1024)).astype(np.float16)
    journal = Journal.open(folder, "shard 1/1")
    for numbers in (range(800), range(800, 1_600), range(1_600, 1_700)):
        journal.append([ItemRow(f"v{n:05d}", None, ItemStatus.OK, row=values[n]) for n in numbers])
        journal.publish({})
    journal.close()
    return folder, values


# A row of 6,144 bytes begins at a huge page every 6 MiB, which are 1,024 rows.
@pytest.mark.parametrize(
    ("limit", "first"), [(resource.RLIM_INFINITY, [0, 1_024, 1_824]), (2**46, [0, 800, 1_600])]
)
def test_rows_are_the_same_with_gaps_and_without(large_store, monkeypatch, limit, first):
    folder, values = large_store
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    store = open_store(folder)
    tensor, first_rows = store._rows._files.tensor, store._rows._files.first_rows
    assert first_rows.tolist() == first
    assert [store._rows._files.chunk(n)[0, 0, 0] for n in range(len(first_rows))] == [
        tensor[first, 0, 0] for first in first_rows
    ]
    rows = np.random.default_rng(1).integers(0, len(values), 300)
    np.testing.assert_array_equal(store.read(rows), values[rows])
    np.testing.assert_array_equal(store.read(rows, [5, 0]), values[rows][:, [2, 0]])
    np.testing.assert_array_equal(store.read(rows, is_mapped=False), values[rows])
    np.testing.assert_array_equal(store.load(), values)
