"""What a store in any state still tells of its items."""

import pytest

from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, open_store
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.growing.readable_items import readable_items


def by_the_reader(path):
    store = open_store(path)
    statuses = [ItemStatus(str(status)) for status in store.status]
    return dict(
        zip(store.item_ids.tolist(), zip(store.content_digests, statuses, strict=True), strict=True)
    )


def test_of_a_sound_store_it_is_what_the_newest_version_says(store):
    expected = by_the_reader(store)
    assert expected
    assert readable_items(store) == expected
    compact(store, "1.2")  # which leaves the older segments lying there
    assert readable_items(store) == expected


def test_a_deleted_item_is_left_out(store):
    expected = by_the_reader(store)
    gone = min(expected)
    journal = Journal.open(store, "deletion")
    journal.append([ItemRow(gone, None, ItemStatus.DELETED)])
    journal.publish({})
    journal.close()
    assert readable_items(store) == {k: v for k, v in expected.items() if k != gone}


@pytest.mark.parametrize(
    "pattern",
    ["store.json", "versions/*.json", "canary/*", "segments/*/zarr.json", "segments/*/hidden_states/zarr.json",
     "segments/*/hidden_states/c/0/0/0"],
)  # fmt: skip
def test_neither_manifests_nor_arrays_are_needed(store, pattern):
    expected = by_the_reader(store)
    for file in list(store.glob(pattern)):
        file.unlink()
    assert readable_items(store) == expected


@pytest.mark.parametrize("name", ["segment.json", "items.parquet"])
def test_a_segment_without_its_record_or_index_tells_nothing(store, name):
    for file in store.glob(f"segments/*/{name}"):
        file.write_bytes(b"")
    assert readable_items(store) == {}
