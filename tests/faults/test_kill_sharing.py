"""Kill a push, pull, merge or compaction anywhere; the same command again ends as if nothing had happened.

``CROSSAN_FAULTS=full`` kills 200 pushes and pulls and 100 merges and compactions, otherwise a few of each.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import numpy as np
import pytest

from crossan.cache_schema.errors import StoreNotFoundError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, create_store, fsck, logical_digest, open_store

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
KILLS = (
    {"push": 100, "pull": 100, "merge": 50, "compact": 50}
    if IS_FULL
    else dict.fromkeys(("push", "pull", "merge", "compact"), 6)
)
DIM = 64


def identity():
    return StoreIdentity(
        modality="text", backbone={"id": "made/up"}, inputs={}, capture={"layers": [0, 1], "pooling": "cls"}, dim=DIM
    )


def append(path, first, count):
    """Append items whose row holds their number throughout; 256 of them are a chunk."""
    journal = Journal.open(path, "shard 1/1")
    rows = np.broadcast_to(np.arange(first, first + count, dtype=np.float16)[:, None, None], (count, 2, DIM))
    journal.append(
        [
            ItemRow(f"v{number:05d}", f"{number:064x}", ItemStatus.OK, row=row)
            for number, row in zip(range(first, first + count), rows, strict=True)
        ]
    )
    journal.publish({})
    journal.close()


def new_store(path):
    create_store(path, identity(), np.zeros((4, 2, DIM), np.float32))
    return path


def state_of(path):
    """Return the logical digest of the newest version, None where there is none; no row in it is zero."""
    try:
        opened = open_store(path)
    except StoreNotFoundError:
        return None
    rows = opened.load()
    assert rows[:, 0, 0].tolist() == [float(item_id[1:]) for item_id in opened.item_ids]
    return logical_digest(opened)


def arrived(path):
    """Return the inodes of the files that are whole in segments and in what is being built."""
    return {file.stat().st_ino for file in path.glob("s*/**/*") if file.is_file() and "/c/" in str(file)}


class Case:
    """One command, the folder it changes, and what that folder holds before and after."""

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        self.a, self.b = new_store(folder / "a"), folder / "b"
        append(self.a, 0, 600)
        if kind in {"push", "pull"}:
            shutil.copytree(self.a, self.b)
            append(self.a, 600, 700)
            append(self.a, 1300, 100)
            self.arguments = {
                "push": ["cache", "push", self.a, self.b],
                "pull": ["cache", "pull", self.a, "--to", self.b],
            }[kind]
        elif kind == "merge":
            for number in range(3):
                append(
                    new_store(folder / f"job{number}"), 300 * number + 600, 300
                )  # up to 1,500: whole numbers in float16
            shutil.copytree(self.a, self.b)
            self.arguments = ["cache", "merge", self.b, *(folder / f"job{number}" for number in range(3))]
        else:
            append(self.a, 600, 700)
            append(self.a, 1300, 100)
            shutil.copytree(self.a, self.b)
            self.arguments = ["cache", "compact", self.b]
        self.before = state_of(self.b)
        self.saved = folder / "saved"
        shutil.copytree(self.b, self.saved)

    def reset(self):
        shutil.rmtree(self.b)
        shutil.copytree(self.saved, self.b)


@pytest.fixture(params=["push", "pull", "merge", "compact"])
def case(request, tmp_path):
    return Case(request.param, tmp_path)


@pytest.mark.timeout(3600)
def test_kill_anywhere_and_run_again(case, commands):
    begun = time.monotonic()
    commands.finish("crossan", *case.arguments, "--json")
    seconds = time.monotonic() - begun
    after = state_of(case.b)
    moments = random.Random(case.kind)
    killed = point = 0
    for attempt in range(20 * KILLS[case.kind]):
        if killed == KILLS[case.kind]:
            break
        case.reset()
        is_timed = attempt % 2 == 0
        point = point % 60 + 1
        process = commands.begin("crossan", *case.arguments, "--json", after=0 if is_timed else point)
        if is_timed:
            time.sleep(moments.uniform(0, seconds))
            os.kill(process, signal.SIGKILL)
        if commands.end() != -signal.SIGKILL:
            point = 0 if not is_timed else point
            continue
        killed += 1
        assert state_of(case.b) in ({case.before, after} | between(case))
        assert fsck(case.b).ok, fsck(case.b).problems
        before_resuming = arrived(case.b)
        done = commands.finish("crossan", *case.arguments, "--json")
        assert state_of(case.b) == after
        assert fsck(case.b).ok
        if case.kind in {"push", "pull"}:
            lost = before_resuming - arrived(case.b)
            assert len(lost) <= 4  # one half-written file for each of the four workers
            assert done["version"] == 3
        assert done["version"] == open_store(case.b).version
    assert killed == KILLS[case.kind]


def between(case):
    """Return the states of whole versions between the old and the new one."""
    if case.kind not in {"push", "pull"}:
        return set()
    return {logical_digest(open_store(case.a, version)) for version in (1, 2, 3)}
