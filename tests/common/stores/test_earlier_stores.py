"""Stores written before zarr-python wrote them: read, checked, digested and grown as ever.

``fixtures/before_zarr`` was written once, by commit 83edba4, with the values below; it is never
written again. Segments of today hold the same bytes, but for what tells them apart.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, encode_rows, fsck, logical_digest, open_store
from crossan.common.stores.folders import create_store, read_identity
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.growing.repair import repair

EARLIER = Path(__file__).parent / "fixtures" / "before_zarr"
DIGESTS = {  # that commit's `crossan cache digest`
    "raw": "115f59bef4c9bfa904ef258fabdeab4e2745cafeed81a931cb8c77dbb49a81d9",
    "zstd": "80ef8bfd1ab5de479ea3fb089892c5a4e331fb2bd30f24c3a40080dc65ea202b",
    "blosc": "c7b7baba2f1455b7da067438ccab82abfa6be1eccfefcd02d8efb06e95d5415b",
}
CANARY = np.zeros((4, 3, 16), np.float32)


@pytest.fixture(params=list(DIGESTS))
def earlier(request, tmp_path):
    """Return the codec and a copy of the store."""
    return request.param, Path(shutil.copytree(EARLIER / request.param, tmp_path / "earlier"))


def rows_of(stored_dtype):
    values = np.random.default_rng(14).normal(size=(40, 3, 16)).astype(np.float32)
    return encode_rows(values, stored_dtype)[0]


def write_again(folder):
    """Write both versions: items 0 to 36 and w absent; then 3 has the values of 39, and 5 is gone."""
    journal = Journal.open(folder, "shard 1/1")
    rows = rows_of(read_identity(folder).stored_dtype)
    journal.append(
        [ItemRow(f"v{n:02d}", f"{n:064x}", ItemStatus.OK, row=rows[n]) for n in range(37)]
        + [ItemRow("w", None, ItemStatus.ABSENT)]
    )
    journal.publish({})
    journal.append(
        [
            ItemRow("v03", "f" * 64, ItemStatus.OK, row=rows[39]),
            ItemRow("v05", None, ItemStatus.DELETED),
        ]
    )
    journal.publish({})
    journal.close()


def test_it_opens_and_holds_what_was_written(earlier):
    _, folder = earlier
    report = fsck(folder)
    assert report.ok, report.problems
    store = open_store(folder)
    expected = rows_of(store.identity.stored_dtype)[[*range(3), 39, 4, *range(6, 37)]]
    np.testing.assert_array_equal(store.read_stored(np.arange(36)), expected)
    assert store.status.tolist() == ["ok"] * 36 + ["absent"]
    assert store.deleted_ids.tolist() == ["v05"]
    for array in store.to_zarr():
        assert np.isfinite(array[:]).all()


def test_its_digest_is_the_recorded_one(earlier):
    codec, folder = earlier
    assert logical_digest(open_store(folder)) == DIGESTS[codec]


def test_it_grows_and_shrinks_together(earlier):
    codec, folder = earlier
    journal = Journal.open(folder, "shard 1/1")
    row = rows_of(read_identity(folder).stored_dtype)[38]
    journal.append([ItemRow("v38", f"{38:064x}", ItemStatus.OK, row=row)])
    journal.publish({})
    journal.append([ItemRow("v38", None, ItemStatus.DELETED)])
    journal.publish({})
    journal.close()
    assert logical_digest(open_store(folder)) == DIGESTS[codec]
    assert compact(folder, "today")
    assert fsck(folder).ok
    assert logical_digest(open_store(folder)) == DIGESTS[codec]
    assert len(open_store(folder).records) == 1


def test_todays_segments_hold_the_same_bytes(earlier, tmp_path):
    _, folder = earlier
    create_store(tmp_path / "today", read_identity(folder), CANARY)
    write_again(tmp_path / "today")
    names = ["zarr.json", "hidden_states/zarr.json", "hidden_states/c/0/0/0"]
    for old, new in zip(
        open_store(folder).records, open_store(tmp_path / "today").records, strict=True
    ):
        assert [old.file(name) for name in names] == [new.file(name) for name in names]


def test_its_array_metadata_is_restored(earlier):
    codec, folder = earlier
    for path in folder.glob("segments/*/hidden_states/zarr.json"):
        path.unlink()
    assert len(repair(folder, read_identity(folder), CANARY).restored) == 2
    assert fsck(folder).ok
    assert logical_digest(open_store(folder)) == DIGESTS[codec]
