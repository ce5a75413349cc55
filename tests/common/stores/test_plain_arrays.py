"""`FeatureStore.to_zarr` gives plain zarr arrays, and no byte that is not the recorded one."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.stores import Journal, open_store


@pytest.fixture(
    params=[
        (codec, dtype) for codec in ("raw", "zstd", "blosc") for dtype in ("float16", "bfloat16")
    ]
)
def folder(request, begin_store, make_identity, make_rows):
    """Return a store of two segments, the second with newer rows of two items."""
    codec, stored_dtype = request.param
    folder = begin_store(make_identity(codec=codec, stored_dtype=stored_dtype))
    journal = Journal.open(folder, "shard 1/1")
    for numbers in (range(20), range(18, 25)):
        journal.append(make_rows(numbers, stored_dtype))
        journal.publish({})
    journal.close()
    return folder


def test_the_arrays_hold_what_read_gives(folder):
    store = open_store(folder)
    arrays = store.to_zarr()
    assert [array.shape for array in arrays] == [(20, 3, 8), (7, 3, 8)]
    rows = {}
    for array, record in zip(arrays, store.records, strict=True):
        assert isinstance(array, zarr.Array)
        values = array[:]
        for item in pq.read_table(
            folder / "segments" / record.segment_id / "items.parquet"
        ).to_pylist():
            rows[item["item_id"]] = values[item["row"]]  # of a later segment: the newer one
    assert sorted(rows) == store.item_ids.tolist()
    expected = store.read_stored(np.arange(25))
    np.testing.assert_array_equal(np.stack([rows[key] for key in store.item_ids]), expected)
    np.testing.assert_array_equal(arrays[0].oindex[[3, 1]], arrays[0][:][[3, 1]])


def test_plain_zarr_over_the_folder_says_the_same(folder):
    store = open_store(folder)
    for array, record in zip(store.to_zarr(), store.records, strict=True):
        plain = zarr.open_group(folder / "segments" / record.segment_id, mode="r")["hidden_states"]
        assert str(array.metadata) == str(plain.metadata)  # as text: NaN equals no NaN
        np.testing.assert_array_equal(array[:], plain[:])


def test_the_store_beneath_is_a_whole_group(folder):
    array = open_store(folder).to_zarr()[0]
    group = zarr.open_group(array.store, mode="r")
    assert list(group.array_keys()) == ["hidden_states"]
    assert group["hidden_states"].nchunks_initialized == array.nchunks
    np.testing.assert_array_equal(group["hidden_states"][:], array[:])
    assert array.store == pickle.loads(pickle.dumps(array)).store  # as a process of dask's gets it


def test_nothing_can_be_written(folder):
    array = open_store(folder).to_zarr()[0]
    with pytest.raises(ValueError, match="read-only|read only"):
        array[0] = 0
    with pytest.raises(ValueError, match="read-only|read only"):
        array.attrs["x"] = 1


def test_a_damaged_chunk_is_refused(folder):
    array = open_store(folder).to_zarr()[0]
    path = array.store.folder / "hidden_states/c/0/0/0"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreIntegrityError, match=r"c/0/0/0: expected bytes with CRC32C"):
        array[:]
    data = data[:-4]
    path.write_bytes(data)
    with pytest.raises(StoreIntegrityError, match=r"c/0/0/0: expected [\d,]+ bytes, found"):
        array[:]


def test_a_missing_chunk_is_refused_and_not_filled(folder):
    array = open_store(folder).to_zarr()[0]
    (array.store.folder / "hidden_states/c/0/0/0").unlink()
    with pytest.raises(StoreIntegrityError, match=r"c/0/0/0: expected .* found no such file"):
        array[:]
    (array.store.folder / "zarr.json").write_text("{}")
    with pytest.raises(StoreIntegrityError, match=r"zarr\.json: expected SHA-256"):
        zarr.open_group(array.store, mode="r")


def test_a_raw_store_is_read_without_zarr(store):
    script = (
        "import sys, numpy as np\nfrom crossan.common.stores import fsck, open_store\n"
        f"store = open_store({str(store)!r})\nstore.load()\nstore.read(np.arange(3))\nfsck(store.path)\n"
        "print([name for name in ('zarr', 'numcodecs') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
