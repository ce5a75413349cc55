"""A disk that is full at any moment costs nothing but the time until there is room.

``CROSSAN_FAULTS=full`` tries 20 sizes of a small file system in memory.
"""

from __future__ import annotations

import os
import re
import subprocess

import pyarrow as pa
import pytest

from crossan.cache_schema.errors import StoreNotFoundError
from crossan.common.datasets import write_dataset
from crossan.common.stores import logical_digest, open_store, verify

SIZES = range(60, 260, 10) if os.environ.get("CROSSAN_FAULTS") == "full" else (60, 120, 200)
"""In KiB; an uninterrupted job needs more than any of them."""
ITEMS = 400


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder and a function that makes it another size."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system in memory takes root")
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"cannot mount a file system in memory here: {error}")
    yield folder, lambda kib: run("mount", "-o", f"remount,size={kib}k", folder)
    run("umount", folder)


@pytest.fixture(scope="module")
def job(tiny_backbones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    nothing = pa.nulls(ITEMS, pa.string())
    ids = [f"v{number:04d}" for number in range(ITEMS)]
    items = pa.table(
        {
            "item_id": ids,
            "title": [f"title {n}" for n in ids],
            "image": nothing,
            "video": nothing,
            "audio": nothing,
        }
    )
    one = pa.table({"user_id": ["u"], "item_id": ids[:1], "timestamp": pa.array([1], pa.int64())})
    write_dataset(
        folder / "d", name="d", source_format="table", licence="ours", interactions=one, items=items
    )
    return [
        "--modality",
        "text",
        "--dataset",
        folder / "d",
        "--backbone",
        tiny_backbones,
        "--json",
        "--batch-size",
        "16",
    ]


@pytest.mark.timeout(3600)
def test_a_full_disk_is_exit_six_and_the_same_command_goes_on(commands, job, small_disk, tmp_path):
    folder, resize = small_disk
    whole = commands.finish("crossan-extract", *job, "--cache", tmp_path / "whole")["stores"][0][
        "store"
    ]
    digest = logical_digest(open_store(whole))
    for size in SIZES:
        resize(size)
        cache = folder / f"c{size}"
        commands.begin("crossan-extract", *job, "--cache", cache)
        assert commands.end() == 6, commands.output()
        said = re.search(
            r"no space left while writing .*: ([\d,]+ bytes needed, )?[\d,]+ bytes free",
            commands.output(),
        )
        assert said, commands.output()
        stores = list(cache.glob("*/*/*"))
        for store in stores:
            with_version = (
                any((store / "versions").glob("*.json")) if (store / "versions").is_dir() else False
            )
            if with_version:
                assert verify(store).ok
            else:
                with pytest.raises(StoreNotFoundError):
                    open_store(store)
        resize(4_000)
        store = commands.finish("crossan-extract", *job, "--cache", cache)["stores"][0]["store"]
        assert logical_digest(open_store(store)) == digest
        run("rm", "-rf", cache)
