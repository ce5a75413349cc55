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
from crossan.common.stores.sharing.locations import FolderLocation, location_of
from crossan.common.stores.sharing.transfer import transfer
from support.servers import s3_environment

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
KILLS = (
    {"push": 50, "pull": 50, "push s3": 50, "pull s3": 50, "merge": 50, "compact": 50}
    if IS_FULL
    else {"push": 6, "pull": 6, "push s3": 4, "pull s3": 4, "merge": 6, "compact": 6}
)
WORKERS = 4
"""Files in flight at once, each of which a kill may cut off."""
DIM = 64


def identity():
    return StoreIdentity(
        modality="text",
        backbone={"id": "made/up"},
        inputs={},
        capture={"layers": [0, 1], "pooling": "cls"},
        dim=DIM,
    )


def append(path, first, count):
    """Append items whose row holds their number throughout; 256 of them are a chunk."""
    journal = Journal.open(path, "shard 1/1")
    rows = np.broadcast_to(
        np.arange(first, first + count, dtype=np.float16)[:, None, None], (count, 2, DIM)
    )
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


class Case:
    """One command, the folder it changes, and what that folder holds before and after."""

    environment = None

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        self.a, self.b = new_store(folder / "a"), folder / "b"
        append(self.a, 0, 600)
        if kind.startswith("pu"):
            shutil.copytree(self.a, self.b)
            append(self.a, 600, 700)
            append(self.a, 1300, 100)
            self.arguments = {
                "push": ["cache", "push", self.a, self.b],
                "pull": ["cache", "pull", self.a, "--to", self.b],
            }[kind[:4]]
        elif kind == "merge":
            for number in range(3):
                append(
                    new_store(folder / f"job{number}"), 300 * number + 600, 300
                )  # up to 1,500: whole numbers in float16
            shutil.copytree(self.a, self.b)
            self.arguments = [
                "cache",
                "merge",
                self.b,
                *(folder / f"job{number}" for number in range(3)),
            ]
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

    def changed(self):
        """Return the folder that the command changes, or a copy of what it changes elsewhere."""
        return self.b

    def arrived(self):
        """Return the inodes of the chunks that are whole in segments and in what is being built."""
        return {
            file.stat().st_ino
            for file in self.b.glob("s*/**/*")
            if file.is_file() and "/c/" in str(file)
        }

    def resent(self, before):
        """Return how many chunks of those that had arrived came again."""
        return len(before - self.arrived())


class PullFromBucket(Case):
    """A pull of what lies in a bucket."""

    def __init__(self, folder, bucket, address):
        super().__init__("pull s3", folder)
        self.environment = s3_environment(address)
        transfer(FolderLocation(self.a), location_of(f"{bucket}/a"))
        self.arguments = ["cache", "pull", f"{bucket}/a", "--to", self.b]


class PushToBucket(Case):
    """A push into a bucket, through a proxy that counts."""

    def __init__(self, folder, bucket, proxy):
        super().__init__("push s3", folder)
        self.environment, self.bucket, self.proxy, self.number = (
            s3_environment(proxy.address),
            bucket,
            proxy,
            0,
        )
        self.reset()

    def reset(self):
        self.number += 1
        self.address = f"{self.bucket}/b{self.number}"
        transfer(FolderLocation(self.saved), location_of(self.address))
        self.proxy.requests.clear()
        self.arguments = ["cache", "push", self.a, self.address, "--i-have-rights"]

    def changed(self):
        shutil.rmtree(self.b)
        transfer(location_of(self.address), FolderLocation(self.b))
        return self.b

    def arrived(self):
        return None

    def resent(self, before):
        sent = [
            request
            for request in self.proxy.requests
            if request.startswith("PUT ") and "/c/" in request
        ]
        return len(sent) - len(set(sent))


@pytest.fixture(params=list(KILLS))
def case(request, tmp_path):
    if not request.param.endswith("s3"):
        return Case(request.param, tmp_path)
    proxy, bucket = request.getfixturevalue("faulty"), request.getfixturevalue("bucket")
    if request.param == "push s3":
        return PushToBucket(tmp_path, bucket, proxy)
    return PullFromBucket(tmp_path, bucket, proxy.address)


@pytest.mark.timeout(3600)
def test_kill_anywhere_and_run_again(case, commands):
    begun = time.monotonic()
    commands.finish("crossan", *case.arguments, "--json", environment=case.environment)
    seconds = time.monotonic() - begun
    after = state_of(case.changed())
    moments = random.Random(case.kind)
    killed = point = 0
    for attempt in range(20 * KILLS[case.kind]):
        if killed == KILLS[case.kind]:
            break
        case.reset()
        is_timed = attempt % 2 == 0
        point = point % 60 + 1
        process = commands.begin(
            "crossan",
            *case.arguments,
            "--json",
            after=0 if is_timed else point,
            environment=case.environment,
        )
        if is_timed:
            time.sleep(moments.uniform(0, seconds))
            os.kill(process, signal.SIGKILL)
        if commands.end() != -signal.SIGKILL:
            point = 0 if not is_timed else point
            continue
        killed += 1
        assert state_of(case.changed()) in ({case.before, after} | between(case))
        assert fsck(case.b).ok, fsck(case.b).problems
        arrived = case.arrived()
        done = commands.finish("crossan", *case.arguments, "--json", environment=case.environment)
        assert case.resent(arrived) <= WORKERS
        assert state_of(case.changed()) == after
        assert fsck(case.b).ok
        assert done["version"] == open_store(case.b).version
        assert done["version"] == 3 or not case.kind.startswith("pu")
    assert killed == KILLS[case.kind]


def between(case):
    """Return the states of whole versions between the old and the new one."""
    if not case.kind.startswith("pu"):
        return set()
    return {logical_digest(open_store(case.a, version)) for version in (1, 2, 3)}
