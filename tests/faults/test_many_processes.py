"""Many processes at once on one folder: no lost rows, no mixed version.

``CROSSAN_FAULTS=full`` runs 50 rounds of writers, and 200 commits under readers and a garbage collector.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, create_store, fsck, open_store
from crossan.common.stores.growing.collect import collect
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.sharing.locations import FolderLocation
from crossan.common.stores.sharing.transfer import transfer
from crossan.common.stores.versions import list_versions, read_version
from support.started import CEILING_S

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
ROUNDS = 50 if IS_FULL else 3
COMMITS = 200 if IS_FULL else 25
FORK = multiprocessing.get_context("fork")


def new_store(path):
    identity = StoreIdentity(
        modality="text", backbone={"id": "x"}, inputs={}, capture={"layers": [0, 1]}, dim=8
    )
    create_store(path, identity, np.zeros((4, 2, 8), np.float32))
    return path


def rows(numbers, value):
    return [
        ItemRow(
            f"v{number:05d}", f"{value:064x}", ItemStatus.OK, row=np.full((2, 8), value, np.float16)
        )
        for number in numbers
    ]


def in_children(*works):
    """Run functions in forked processes at once; all must end well."""
    children = [FORK.Process(target=work) for work in works]
    for child in children:
        child.start()
    for child in children:
        child.join(CEILING_S)
    assert [child.exitcode for child in children] == [0] * len(children)


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_writers_make_one_linear_history(tmp_path):
    random_counts = random.Random(0)
    for turn in range(ROUNDS):
        path, count = new_store(tmp_path / f"s{turn}"), random_counts.randint(2, 8)

        def write(writer, path=path):
            for batch in range(3):
                journal = Journal.open(path, f"shard {writer + 1}/8")
                first = 100 * writer + 10 * batch
                journal.append(rows(range(first, first + 10), first))
                journal.publish({})
                journal.close()

        in_children(*(lambda writer=writer: write(writer) for writer in range(count)))
        opened = open_store(path)
        assert len(opened.item_ids) == 30 * count
        assert opened.load()[:, 0, 0].tolist() == [
            float(int(item[1:]) // 10 * 10) for item in opened.item_ids
        ]
        assert list_versions(path) == list(range(1, 3 * count + 1))
        assert [
            len(read_version(path, version).segments) for version in list_versions(path)
        ] == list_versions(path)
        assert fsck(path).ok


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_pushers_to_one_remote_lose_nothing(tmp_path):
    for turn in range(ROUNDS):
        remote, seed = tmp_path / f"r{turn}", new_store(tmp_path / f"seed{turn}")
        journal = Journal.open(seed, "j")
        journal.append(rows(range(5), 1))
        journal.publish({})
        journal.close()
        mates = [tmp_path / f"mate{turn}-{number}" for number in range(4)]

        def work(number, mates=mates, remote=remote, seed=seed):
            transfer(FolderLocation(seed), FolderLocation(mates[number]), is_source_first=True)
            for batch in range(2):
                journal = Journal.open(mates[number], "j")
                journal.append(
                    rows(range(100 * number + 10 * batch + 10, 100 * number + 10 * batch + 20), 7)
                )
                journal.publish({})
                journal.close()
                transfer(FolderLocation(mates[number]), FolderLocation(remote))
                transfer(
                    FolderLocation(remote), FolderLocation(mates[number]), is_source_first=True
                )

        transfer(FolderLocation(seed), FolderLocation(remote))
        in_children(*(lambda number=number: work(number) for number in range(4)))
        assert len(open_store(remote).item_ids) == 5 + 4 * 20
        assert fsck(remote).ok
        assert list((remote / "staging").iterdir()) == []
        for mate in mates:
            transfer(FolderLocation(remote), FolderLocation(mate), is_source_first=True)
            assert open_store(mate).item_ids.tolist() == open_store(remote).item_ids.tolist()
            assert fsck(mate).ok


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_each_reader_sees_one_whole_version_while_a_collector_runs(tmp_path):
    path = new_store(tmp_path / "s")
    journal = Journal.open(path, "j")
    journal.append(rows(range(20), 1))
    journal.publish({})
    journal.close()
    done = tmp_path / "done"

    def write():
        # Commit n sets every item to n: a version that mixes two commits shows two values.
        journal = Journal.open(path, "j")
        for commit in range(2, COMMITS + 2):
            journal.append(rows(range(20), commit))
            journal.publish({})
        journal.close()
        done.touch()

    def read():
        latest = seen = 0
        while not done.exists() or seen == 0:
            opened = open_store(path)
            values = set(np.unique(opened.read(np.arange(20))).tolist())
            assert len(values) == 1, values
            value = values.pop()
            assert value >= max(latest, 1)
            latest, seen = value, seen + 1

    def tidy():
        while not done.exists():
            collect(path, keep=1)
            if random.random() < 0.3:
                compact(path, "test")
            time.sleep(0.002)

    in_children(write, tidy, *[read] * 4)
    opened = open_store(path)
    assert set(np.unique(opened.load()).tolist()) == {COMMITS + 1}
    collect(path, keep=1)
    assert fsck(path).ok
    assert len(list(Path(path, "segments").iterdir())) == len(opened.records)
