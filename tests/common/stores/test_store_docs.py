"""The readers in docs/store-format.md read what we write."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, logical_digest, open_store
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.versions import Content, commit

PAGE = Path(__file__).parents[3] / "docs" / "store-format.md"


@pytest.fixture(scope="module")
def blocks():
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(found) == 2
    return found


def test_numpy_reader_is_short_and_agrees_with_ours(blocks, store):
    assert len(blocks[0].splitlines()) <= 50
    journal = Journal.open(store, "shard 1/1")
    journal.append([ItemRow("v00004", None, ItemStatus.DELETED)])
    journal.publish({})
    scope = {}
    exec(blocks[0], scope)
    item_ids, rows = scope["read_store"](store)
    opened = open_store(store)
    assert item_ids == opened.item_ids.tolist()
    np.testing.assert_array_equal(rows, opened.load())


def test_numpy_reader_takes_the_newest_row_also_where_segments_lie_in_another_order(
    blocks, store, make_rows
):
    journal = Journal.open(store, "shard 1/1")
    journal.append(make_rows(range(3, 5)))
    journal.append([ItemRow("v00000", None, ItemStatus.DELETED)])
    journal.publish({})
    before = open_store(store)
    commit(store, lambda newest: Content(newest.segments[::-1]))
    scope = {}
    exec(blocks[0], scope)
    for _ in range(2):
        item_ids, rows = scope["read_store"](store)
        assert item_ids == before.item_ids.tolist()
        np.testing.assert_array_equal(rows, before.load())
        np.testing.assert_array_equal(open_store(store).load(), before.load())
        compact(store, "test")
    assert logical_digest(open_store(store)) == logical_digest(before)


def test_numpy_reader_reads_bfloat16_and_notices_damage(
    blocks, begin_store, make_identity, make_rows
):
    folder = begin_store(make_identity(stored_dtype="bfloat16"))
    journal = Journal.open(folder, "shard 1/1")
    journal.append(make_rows(range(9), "bfloat16"))
    journal.publish({})
    scope = {}
    exec(blocks[0], scope)
    np.testing.assert_array_equal(scope["read_store"](folder)[1], open_store(folder).load())
    chunk = next(folder.glob("segments/*/hidden_states/c/0/0/0"))
    data = bytearray(chunk.read_bytes())
    data[10] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(ValueError, match="c/0/0/0: damaged"):
        scope["read_store"](folder)


@pytest.mark.parametrize("codec", ["raw", "zstd", "blosc"])
def test_zarr_reader_is_three_lines_and_agrees_with_ours(
    blocks, begin_store, make_identity, make_rows, codec
):
    assert len([line for line in blocks[1].splitlines() if line]) == 3
    folder = begin_store(make_identity(codec=codec))
    journal = Journal.open(folder, "shard 1/1")
    journal.append(make_rows(range(20)))
    journal.publish({})
    scope = {"folder": next((folder / "segments").iterdir())}
    exec(blocks[1], scope)
    np.testing.assert_array_equal(scope["rows"], open_store(folder).load())
