"""Stores that released versions of crossan wrote are read for ever; one from the future is refused by its number.

``stores/v1`` was written once, by `write_released_store` under schema version 1, and is never written again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crossan.cache_schema.canonical import SCHEMA_VERSION, digest_of
from crossan.cache_schema.errors import IncompatibleError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import ItemRow, Journal, create_store, fsck, logical_digest, open_store
from crossan.common.stores.growing.repair import repair
from support.started import CEILING_S

RELEASED = Path(__file__).parent / "stores"
IDENTITY = StoreIdentity(
    modality=Modality.TEXT, backbone={"id": "by hand"}, inputs={}, capture={"layers": [0, 2]}, dim=8
)
CROSSAN = Path(sys.executable).parent / "crossan"


def write_released_store(folder: Path) -> None:
    """Write two versions: items b, d, é with 1, 2, 3 everywhere, c absent; then d is 4, b is gone, f is broken."""
    create_store(folder, IDENTITY, np.zeros((4, 2, 8), np.float32))
    journal = Journal.open(folder, "shard 1/1")
    journal.append(
        [_row("b", 1), ItemRow("c", None, ItemStatus.ABSENT), _row("d", 2), _row("é", 3)]
    )
    journal.publish({})
    journal.append(
        [
            ItemRow("b", None, ItemStatus.DELETED),
            _row("d", 4),
            ItemRow("f", "0" * 64, ItemStatus.QUARANTINED, "torn"),
        ]
    )
    journal.publish({})
    journal.close()


def _row(item_id, value):
    return ItemRow(item_id, f"{value:064x}", ItemStatus.OK, row=np.full((2, 8), value, np.float16))


def test_there_is_a_store_of_every_released_schema_version():
    assert sorted(path.name for path in RELEASED.iterdir()) == [
        f"v{n}" for n in range(1, SCHEMA_VERSION + 1)
    ]


@pytest.mark.parametrize("name", [f"v{n}" for n in range(1, SCHEMA_VERSION + 1)])
def test_a_released_store_is_read(name):
    folder = RELEASED / name
    report = fsck(folder)
    assert report.ok, report.problems
    first, newest = open_store(folder, 1), open_store(folder)
    assert first.item_ids.tolist() == ["b", "c", "d", "é"]
    assert first.load()[:, 1, 7].tolist()[::2] == [1, 2]
    assert newest.item_ids.tolist() == ["c", "d", "f", "é"]
    assert newest.deleted_ids.tolist() == ["b"]
    assert newest.status.tolist() == ["absent", "ok", "quarantined", "ok"]
    assert newest.reasons == [None, None, "torn", None]
    assert newest.content_digests == [None, f"{4:064x}", "0" * 64, f"{3:064x}"]
    np.testing.assert_array_equal(newest.read([3, 1])[:, 0, 0], [3, 4])
    assert np.isnan(newest.read([0, 2])).all()


def test_what_is_written_today_holds_the_same(tmp_path):
    write_released_store(tmp_path / "s")
    digests = {
        logical_digest(open_store(folder)) for folder in (tmp_path / "s", *RELEASED.iterdir())
    }
    assert len(digests) == 1
    assert (
        open_store(tmp_path / "s").fingerprint
        == open_store(RELEASED / f"v{SCHEMA_VERSION}").fingerprint
    )


@pytest.fixture(params=["whole", "appended"])
def future_store(request, tmp_path):
    """Return a copy of our store as a later crossan would leave it: all written by it, or one version added."""
    store = tmp_path / "s"
    shutil.copytree(RELEASED / "v1", store)
    if request.param == "whole":
        _rewrite(store / "store.json")
    for name in ("000001.json", "000002.json")[0 if request.param == "whole" else 1 :]:
        store_sha256 = hashlib.sha256((store / "store.json").read_bytes()).hexdigest()
        _rewrite(store / "versions" / name, store_sha256=store_sha256)
    return store


def _rewrite(file, **changes):
    content = {**json.loads(file.read_text()), "schema_version": SCHEMA_VERSION + 1, **changes}
    if content.pop("digest", None):
        content["digest"] = digest_of(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("command", ["info", "verify", "fsck", "digest", "compact", "gc"])
def test_a_store_from_the_future_ends_in_exit_5_with_the_version_found(future_store, command):
    before = _bytes_of(future_store)
    ran = subprocess.run(
        [CROSSAN, "cache", command, future_store],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
    )
    assert ran.returncode == 5, ran.stdout + ran.stderr
    assert f"expected schema version {SCHEMA_VERSION}, found {SCHEMA_VERSION + 1}" in ran.stderr
    assert "pip install --upgrade crossan" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert _bytes_of(future_store) == before


def test_a_repair_does_not_touch_a_store_from_the_future(future_store):
    before = _bytes_of(future_store)
    with pytest.raises(IncompatibleError, match="expected schema version 1, found 2"):
        repair(future_store, IDENTITY, np.zeros((4, 2, 8), np.float32))
    assert _bytes_of(future_store) == before


def _bytes_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
