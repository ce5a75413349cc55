"""Rows that somebody has computed already are found in a cache under any dataset's name."""

from __future__ import annotations

import numpy as np
import pytest

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, StoreNotFoundError
from crossan.common.stores import open_store, store_folder
from crossan.common.stores.sharing.locations import FolderLocation, location_of
from crossan.common.stores.sharing.reuse import Donor
from crossan.common.stores.sharing.transfer import transfer
from support.chunk_edits import put_bits, unseen_edit


@pytest.fixture
def cache(begin_store, make_identity, append, tmp_path):
    """Return a cache with three datasets' stores of one fingerprint, one without rows, and another's."""
    identity, other = make_identity(), make_identity(inputs={"max_length": 16})
    for dataset, numbers in (("a", range(3)), ("b", range(2, 5)), ("empty", None)):
        store = begin_store(identity, store_folder("cache", dataset, identity))
        if numbers is not None:
            append(store, numbers)
    append(begin_store(other, store_folder("cache", "a", other)), range(5, 9))
    return tmp_path / "cache"


def rows_of(address, identity, dataset="renamed", numbers=range(9)):
    """Return what is taken of items of these contents, by item number."""
    wanted = {f"{number:064x}": [f"item {number}"] for number in numbers}
    inside = str(store_folder(".", dataset, identity))
    return {
        int(row.item_id.split()[1]): row.row
        for donor in Donor.find_all(str(address), inside, identity)
        for rows in donor.rows(wanted)
        for row in rows
    }


@pytest.fixture(params=["folder", "bucket"])
def address(request, cache):
    if request.param == "folder":
        return cache
    bucket = request.getfixturevalue("bucket")
    for store in cache.glob("*/*/*"):
        if (store / "versions").is_dir() and any((store / "versions").iterdir()):
            remote = location_of(f"{bucket}/team/{store.relative_to(cache)}")
            transfer(FolderLocation(store), remote)
    return f"{bucket}/team"


def test_rows_of_every_dataset_of_the_fingerprint_are_taken(address, make_identity, make_rows):
    taken = rows_of(address, make_identity())
    assert sorted(taken) == [0, 1, 2, 3, 4]
    for row in make_rows(range(5)):
        np.testing.assert_array_equal(taken[int(row.item_id[1:])], row.row)


def test_the_dataset_of_the_same_name_comes_first(cache, make_identity):
    inside = str(store_folder(".", "b", make_identity()))
    donors = Donor.find_all(str(cache), inside, make_identity())
    assert len(donors) == 2  # the one without a version has nothing to give
    assert [len(list(donor.rows({f"{4:064x}": ["i"]}))) for donor in donors] == [1, 0]


def test_a_web_server_serves_what_can_be_named(cache, make_identity, web_server):
    identity, address = make_identity(), web_server(cache)
    assert sorted(rows_of(address, identity, dataset="b")) == [2, 3, 4]
    with pytest.raises(StoreNotFoundError, match="expected a store, or a cache with renamed/text"):
        rows_of(address, identity)


def test_a_store_itself_is_named_as_before(cache, make_identity):
    identity = make_identity()
    store = store_folder(cache, "a", identity)
    assert sorted(rows_of(store, identity)) == [0, 1, 2]
    assert len(open_store(store).item_ids) == 3
    with pytest.raises(IncompatibleError, match="expected a store of the fingerprint"):
        rows_of(store, make_identity(inputs={"max_length": 8}))
    with pytest.raises(StoreNotFoundError, match="another text store of the fingerprint"):
        rows_of(cache, make_identity(inputs={"max_length": 8}))
    with pytest.raises(StoreNotFoundError, match="expected a version in .*, found none"):
        rows_of(store_folder(cache, "empty", identity), identity)


def test_no_row_is_taken_of_a_damaged_chunk(cache, make_identity):
    identity = make_identity()
    store = store_folder(cache, "a", identity)
    (chunk,) = store.glob("segments/*/hidden_states/c/0/0/0")
    whole = chunk.read_bytes()
    for edited, said in [
        (whole[:-1], "expected 148 bytes with SHA-256"),
        (unseen_edit(whole, 100), "expected 148 bytes with SHA-256"),
    ]:
        chunk.write_bytes(edited)
        with pytest.raises(StoreIntegrityError, match=f"c/0/0/0: {said}"):
            rows_of(store, identity)
    chunk.write_bytes(whole)
    put_bits(chunk, 0, np.float16(np.nan).tobytes())
    with pytest.raises(StoreIntegrityError, match="c/0/0/0: expected finite hidden states"):
        rows_of(store, identity)
