"""Every byte of a chunk counts, and every number in the row of an item that is ok is one."""

from __future__ import annotations

import random

import numpy as np
import pytest

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.stores import Journal, fsck, open_store
from crossan.common.stores.checksums import crc32c
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.growing.repair import repair
from crossan.common.stores.soundness import require_finite, rows_not_finite
from crossan.common.stores.values import encode_rows
from support.chunk_edits import put_bits, unseen_edit

NOT_FINITE = {
    "float16": [0x7C00, 0xFC00, 0x7E00, 0x7C01],
    "float32": [0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001],
    "bfloat16": [0x7F80, 0xFF80, 0x7FC0, 0x7F81],
}
"""Infinity, minus infinity, a quiet and a signalling NaN."""


@pytest.mark.parametrize("codec", ["raw", "zstd", "blosc"])
def test_an_edit_that_keeps_the_crc_is_found(begin_store, make_identity, append_to, codec):
    folder = begin_store(make_identity(codec=codec))
    append_to(folder, range(40))
    (chunk,) = folder.glob("segments/*/hidden_states/c/0/0/0")
    whole = chunk.read_bytes()
    chance = random.Random(0)
    for _ in range(24):
        edited = unseen_edit(whole[:-4], chance.randrange(8 * (len(whole) - 4) - 33)) + whole[-4:]
        assert edited != whole
        assert crc32c(edited[:-4]) == crc32c(whole[:-4])
        chunk.write_bytes(edited)
        (problem,) = fsck(folder).problems
        assert (problem.code, problem.where) == ("wrong-digest", str(chunk))
    chunk.write_bytes(whole)
    assert fsck(folder).ok


def spoil(store, row, bits, stored_dtype):
    """Put a value into a row of the first chunk, and make every digest fit."""
    (chunk,) = store.glob("segments/*/hidden_states/c/0/0/0")
    width = 4 if stored_dtype == "float32" else 2
    put_bits(chunk, (row * 24 + 17) * width, bits.to_bytes(width, "little"))  # 3 layers of 8 values
    return chunk


@pytest.mark.parametrize(
    ("stored_dtype", "bits"),
    [(dtype, value) for dtype, values in NOT_FINITE.items() for value in values],
)
def test_a_row_of_an_item_that_is_ok_holds_numbers(
    begin_store, make_identity, append_to, stored_dtype, bits
):
    folder = begin_store(make_identity(stored_dtype=stored_dtype))
    append_to(folder, range(5), stored_dtype)
    assert fsck(folder).ok
    chunk = spoil(folder, 3, bits, stored_dtype)
    (problem,) = fsck(folder).problems
    assert (problem.code, problem.where) == ("not-finite", str(chunk))
    assert "found NaN or infinity in 1 rows, of the items v00003" in problem.what


def test_padding_may_be_nan_and_is(begin_store, make_identity, append_to):
    folder = begin_store(make_identity(capture={"layers": [0]}, dim=512))  # 64 rows a page
    append_to(folder, range(100), dim=512, layer_count=1)
    (chunk,) = folder.glob("segments/*/hidden_states/c/*/0/0")
    values = np.frombuffer(chunk.read_bytes()[:-4], np.float16).reshape(-1, 512)
    assert np.isnan(values).all(axis=1).tolist() == [False] * 100 + [True] * 28
    assert fsck(folder).ok


def test_what_fsck_names_a_repair_leaves_out(begin_store, make_identity, append_to):
    folder = begin_store(make_identity())
    append_to(folder, range(5))
    spoil(folder, 3, 0x7E00, "float16")
    done = repair(folder, make_identity(), np.zeros((4, 3, 8), np.float32))
    assert "v00003" in done.lost_items
    assert fsck(folder).ok


def test_a_compaction_writes_no_row_that_is_not_a_number(begin_store, make_identity, append_to):
    folder = begin_store(make_identity())
    append_to(folder, range(5))
    spoil(folder, 3, 0x7E00, "float16")
    append_to(folder, range(10, 12))
    with pytest.raises(StoreIntegrityError, match="expected finite hidden states for each item"):
        compact(folder, "test")
    assert len(open_store(folder).records) == 2


@pytest.mark.parametrize("stored_dtype", NOT_FINITE)
def test_the_quick_look_agrees_with_decoding(stored_dtype):
    chance = np.random.default_rng(0)
    values = chance.normal(size=(64, 3, 8)).astype(np.float32)
    stored, _ = encode_rows(values, stored_dtype)
    require_finite(stored, stored_dtype, "here")
    bits = stored.view(f"<u{stored.itemsize}").copy()
    for number, value in enumerate(NOT_FINITE[stored_dtype]):
        bits[number * 7, 2, number] = value
    spoilt = bits.view(stored.dtype)
    assert rows_not_finite(spoilt, stored_dtype) == [0, 7, 14, 21]
    with pytest.raises(StoreIntegrityError, match="here: .* in 4 rows"):
        require_finite(spoilt, stored_dtype, "here")


@pytest.fixture
def append_to(make_rows):
    def append_to(folder, numbers, *arguments, **options):
        journal = Journal.open(folder, "shard 1/1")
        journal.append(make_rows(numbers, *arguments, **options))
        journal.publish({})
        journal.close()

    return append_to
