"""Under --max-ram the peak of a training does not know how many items there are; the large twin is bench_memory.py.

``CROSSAN_FAULTS=full`` trains on five times the items, otherwise on four times: were the peak to grow
with them, it would by 211 MiB, half of it.
"""

import re
import subprocess
import sys

import pytest

from support.counts import IS_FULL, of_full
from support.sparse import PER_USER, write_sparse_place

# The peak is the process's own: ru_maxrss begins with the parent's.
TRAIN = """
import pathlib, sys
from crossan.train.cli import main
try:
    main()
finally:
    print(pathlib.Path("/proc/self/status").read_text(), file=sys.stderr)
"""
LAYERS, DIM = 12, 768  # 18 KiB a row
USERS = 1_300
MIB = 1 << 20
BATCH_BYTES = 64 * PER_USER * LAYERS * DIM * 2
"""15 MiB: users, their items, and a row of half precision each."""


def train(place, *limits):
    """Train one short epoch; return the features' line and the peak in bytes."""
    settings = (
        "max_epochs=1",
        "batch_size=64",
        "model.bottleneck_dim=4",
        "model.width=16",
        "model.top_k=1",
    )
    given = [part for setting in settings for part in ("--set", setting)]
    places = [
        "--dataset",
        place / "d",
        "--cache",
        place / "c",
        "--out",
        place / "r",
        "--device",
        "cpu",
    ]
    command = [sys.executable, "-c", TRAIN, *map(str, places), *given, *limits]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    shown = next(line for line in found.stderr.splitlines() if line.startswith("features:"))
    return shown, int(re.search(r"VmHWM:\s+(\d+)", found.stderr)[1]) * 1024


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A dataset and a store of 16,000 items."""
    folder = tmp_path_factory.mktemp("many")
    write_sparse_place(folder, 16_000, users=USERS, modalities=1, layers=LAYERS, dim=DIM)
    return folder


@pytest.fixture(scope="module")
def small(many):
    """What a training on them with little memory shows, and its peak."""
    return train(many, "--max-ram", "64MiB", "--out", str(many / "small"))


@pytest.mark.exhaustive
def test_peak_memory_is_flat(small, tmp_path):
    users = of_full(1_600, USERS)
    peaks = [] if IS_FULL else [small[1]]
    for items in of_full((4_000, 20_000), (4_000,)):
        place = tmp_path / str(items)
        write_sparse_place(place, items, users=users, modalities=1, layers=LAYERS, dim=DIM)
        shown, peak = train(place, "--max-ram", "64MiB")
        assert shown.startswith("features: streamed from")
        peaks.append(peak)
    assert peaks[1] == pytest.approx(peaks[0], rel=0.1)


@pytest.mark.exhaustive
def test_the_budget_is_kept(many, small):
    """A larger budget adds to the peak what it allows more, at most; without one everything is resident."""
    large, whole = (
        train(many, *limits, "--out", str(many / name))
        for name, limits in (("large", ("--max-ram", "192MiB")), ("whole", ()))
    )
    assert small[0].startswith("features: streamed from 281 MiB")
    assert large[0].startswith("features: streamed from 281 MiB")
    assert whole[0].startswith("features: all 281 MiB in RAM")
    # 192 - 64, 10 for what pages are taken in, and a batch: the one made ahead by the prefetching
    # thread is there at the peak of one training and not at that of another, as threads happen to run.
    assert large[1] - small[1] < 128 * MIB + 10 * MIB + BATCH_BYTES
    assert whole[1] - small[1] > 150 * MIB
