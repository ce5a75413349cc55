"""Rows read from the files: the same as over the mapping, and none of the store's pages stays in memory."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, open_store
from support.counts import of_full


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Three segments of several chunks, the second one's items between the first's; some without a row."""
    from crossan.cache_schema.identity import StoreIdentity
    from crossan.cache_schema.modality import Modality
    from crossan.common.stores import create_store, encode_rows

    folder = tmp_path_factory.mktemp("unmapped") / "store"
    capture = {"layers": [0, 2, 5], "pooling": "cls"}
    identity = StoreIdentity(
        modality=Modality.TEXT, backbone={"id": "b"}, inputs={}, capture=capture, dim=1024
    )
    create_store(folder, identity, np.zeros((4, 3, 1024), np.float32))
    journal, random = Journal.open(folder, "shard 1/1"), np.random.default_rng(0)
    for numbers in (range(0, 2800, 2), range(1, 1400, 3), range(2795, 3000)):
        rows, _ = encode_rows(
            random.normal(size=(len(numbers), 3, 1024)).astype(np.float32), "float16"
        )
        journal.append(
            [
                ItemRow(
                    f"v{n:05d}",
                    None,
                    ItemStatus.OK if n % 11 else ItemStatus.ABSENT,
                    row=row if n % 11 else None,
                )
                for n, row in zip(numbers, rows, strict=True)
            ]
        )
        journal.publish({})
    journal.close()
    assert len(list(folder.glob("segments/*/hidden_states/c/*/0/0"))) > 3
    return open_store(folder)


@settings(
    max_examples=of_full(60, 20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.one_of(st.integers(0, 1000), st.tuples(st.integers(0, 900), st.integers(1, 90))),
        max_size=30,
    ),
    st.sampled_from([None, [0], [5, 0], [0, 2], [0, 2, 5], [2, 2]]),
)
def test_rows_are_those_of_the_mapping(opened, pieces, layers):
    rows = [
        row
        for piece in pieces
        for row in ([piece] if isinstance(piece, int) else range(piece[0], sum(piece)))
    ]
    expected, found = (
        opened.read(np.array(rows, np.int64), layers, is_mapped=way) for way in (True, False)
    )
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("stored_dtype", ["float16", "float32", "bfloat16"])
@pytest.mark.parametrize("codec", ["raw", "zstd", "blosc"])
def test_every_profile_reads_alike(begin_store, make_identity, make_rows, codec, stored_dtype):
    folder = begin_store(make_identity(codec=codec, stored_dtype=stored_dtype))
    journal = Journal.open(folder, "shard 1/1")
    journal.append(
        [*make_rows(range(100, 140), stored_dtype), ItemRow("v00120x", None, ItemStatus.MISSING)]
    )
    journal.publish({})
    rows = np.random.default_rng(1).integers(0, 41, 60)
    found, expected = (
        open_store(folder).read(rows, [4, 0], is_mapped=False),
        open_store(folder).read(rows, [4, 0]),
    )
    np.testing.assert_array_equal(found, expected)


def test_a_collected_segment_is_read_over_its_mapping(store):
    opened = open_store(store)
    expected = open_store(store).load()
    shutil.rmtree(store / "segments")
    np.testing.assert_array_equal(opened.read(np.arange(7), is_mapped=False), expected)


def test_a_damaged_chunk_is_named(store):
    chunk = next(iter(sorted(store.glob("segments/*/hidden_states/c/0/0/0"))))
    data = bytearray(chunk.read_bytes())
    data[3] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(StoreIntegrityError, match="expected bytes with CRC32C"):
        open_store(store).read(np.arange(7), is_mapped=False)


def mapped_bytes(folder):
    """Return how much of the files under a folder counts as memory of this process."""
    total, is_ours = 0, False
    with Path("/proc/self/smaps").open() as lines:
        for line in lines:
            if "-" in line.split(" ", 1)[0]:
                is_ours = str(folder) in line
            elif is_ours and line.startswith("Rss:"):
                total += int(line.split()[1]) * 1024
    return total


def test_no_page_stays_in_memory(opened):
    fresh = open_store(opened.path)
    before = mapped_bytes(fresh.path)
    fresh.read(np.arange(0, 1000, 7), is_mapped=False)
    fresh.load()
    assert mapped_bytes(fresh.path) == before
    fresh.read(np.arange(0, 1000, 7))
    assert mapped_bytes(fresh.path) > before  # what the other way costs
