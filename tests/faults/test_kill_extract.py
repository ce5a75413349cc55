"""Kill an extraction anywhere; the same command again ends in the store of an uninterrupted run.

Real processes run the real command. They are forked from one that has already
imported torch, so that the kills fall into the work and not into the imports.

``CROSSAN_FAULTS=full`` kills 250 runs, otherwise 4: half of them first runs,
half additions to a store that already holds most of the items. It kills at
every seventh write to the disk, otherwise at every nineteenth.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, logical_digest, open_store
from support.extraction import Extraction, row_count, write_items
from support.started import wait_until

ITEM_COUNT = 60
BATCH_SIZE = 4
IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
KILL_COUNT, WRITES_BETWEEN = (250, 7) if IS_FULL else (4, 19)


@pytest.fixture(scope="module")
def extraction(commands, tiny_backbones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    item_ids = [f"item{number:03d}" for number in range(ITEM_COUNT)]
    dataset = _write_pictures(folder, item_ids)
    arguments = ["--modality", "image", "--dataset", dataset, "--backbone", tiny_backbones]
    return Extraction(
        commands, [*arguments, "--batch-size", BATCH_SIZE, "--num-workers", 2], item_ids
    )


@pytest.fixture(scope="module")
def uninterrupted(extraction, tmp_path_factory):
    """Return the logical digest of an uninterrupted run, and its wall time in seconds."""
    extraction.finish(tmp_path_factory.mktemp("warm"))
    begun = time.monotonic()
    store = extraction.finish(tmp_path_factory.mktemp("whole"))
    seconds = time.monotonic() - begun
    assert (store["ok"], store["quarantined"], store["forwarded"]) == (
        ITEM_COUNT - 1,
        1,
        ITEM_COUNT - 1,
    )
    return logical_digest(open_store(store["store"])), seconds


def _write_pictures(folder, item_ids):
    shades = np.random.default_rng(0)
    for item_id in item_ids:
        Image.fromarray(shades.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(
            folder / f"{item_id}.png"
        )
    (folder / f"{item_ids[7]}.png").write_bytes(b"not a picture")
    items = [{"item_id": item_id, "image": str(folder / f"{item_id}.png")} for item_id in item_ids]
    return write_items(folder / "d", items)


def _append_store(extraction, tmp_path):
    """Return a cache whose store lacks a few pictures that changed since it was written."""
    cache = tmp_path / "begun"
    store = Path(extraction.finish(cache)["store"])
    journal = Journal.open(store, "a colleague")
    journal.append(
        [ItemRow(f"item{number:03d}", None, ItemStatus.DELETED) for number in range(20, 40)]
    )
    journal.publish({})
    journal.close()
    return cache


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("is_append", [False, True], ids=["first run", "append"])
def test_kill_at_random_moments(extraction, uninterrupted, tmp_path, is_append):
    digest, seconds = uninterrupted
    begun = _append_store(extraction, tmp_path) if is_append else None
    moments = random.Random(1)
    kills = []
    while sum(kills) < KILL_COUNT // 2:
        assert len(kills) < 5 * KILL_COUNT, "most runs ended before they were killed"
        cache = tmp_path / f"cache{len(kills) // 3}"
        if begun and not cache.exists():
            shutil.copytree(begun, cache)
        process = extraction.begin(cache)
        time.sleep(moments.uniform(0.1, 1.0) * seconds)
        os.kill(process, signal.SIGKILL)
        kills.append(extraction.end() == -signal.SIGKILL)
    for cache in sorted(tmp_path.glob("cache*")):
        extraction.check_whole(extraction.finish(cache), digest)
        assert row_count(cache) == ITEM_COUNT + (
            40 if is_append else 0
        )  # 20 deleted, 20 extracted again
        assert extraction.finish(cache)["forwarded"] == 0


@pytest.mark.slow
def test_kill_at_writes_to_disk(extraction, uninterrupted, tmp_path):
    digest, _ = uninterrupted
    for after in range(1, 200, WRITES_BETWEEN):
        cache = tmp_path / f"after{after}"
        extraction.begin(cache, after=after)
        if extraction.end() == 0:
            assert after > ITEM_COUNT // BATCH_SIZE  # each batch alone is a write
            break
        extraction.begin(cache, after=after + 3)  # and the run that mends it dies too
        extraction.end()
        extraction.check_whole(extraction.finish(cache), digest)
        assert row_count(cache) == ITEM_COUNT
    else:
        pytest.fail("an uninterrupted run was expected to need fewer than 200 writes")


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interruption_has_its_exit_code_and_keeps_whole_batches(
    extraction, uninterrupted, tmp_path, number, exit_code
):
    digest, _ = uninterrupted
    process = extraction.begin(tmp_path / "c")
    _wait_for_batches(tmp_path / "c")
    os.kill(process, number)
    assert extraction.end() == exit_code
    resumed = extraction.finish(tmp_path / "c")
    assert 0 < resumed["forwarded"] < ITEM_COUNT - 1
    extraction.check_whole(resumed, digest)


def _wait_for_batches(cache):
    """Wait until the journal has grown three times: then the first two batches are on the disk."""
    sizes = {0}

    def is_so():
        sizes.update(log.stat().st_size for log in cache.glob("*/*/*/staging/*/journal.log"))
        return len(sizes) >= 4

    wait_until(is_so, "three batches are journaled", pause=0.002)
