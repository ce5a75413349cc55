"""Objects on S3 and on a web server, through networks that fail."""

from __future__ import annotations

import contextlib
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossan.cache_schema.errors import RemoteError, StoreIntegrityError, UsageError
from crossan.common.stores.sharing.objects import ObjectRemote

PLANS = 300 if os.environ.get("CROSSAN_FAULTS") == "full" else 20
FAULTS = ["ok", "late", "reset", "500", "503", "cut", "lost"]


def open_quick(url):
    return ObjectRemote.open(url, sleep=lambda seconds: None)


def test_an_object_is_created_once(bucket):
    remote = ObjectRemote.open(f"{bucket}/a/b")
    assert remote.read("store.json") is None
    assert remote.create("store.json", b"one")
    assert remote.create("store.json", b"one")  # the same again is no conflict
    assert not remote.create("store.json", b"two")
    assert remote.read("store.json") == b"one"


def test_of_eight_writers_one_wins(bucket):
    remote = ObjectRemote.open(bucket)
    with ThreadPoolExecutor(8) as pool:
        won = list(
            pool.map(lambda number: remote.create("versions/000001.json", b"%d" % number), range(8))
        )
    assert sum(won) == 1
    assert remote.read("versions/000001.json") == b"%d" % won.index(True)


def test_listing_stays_inside_the_store(bucket):
    one, other = ObjectRemote.open(f"{bucket}/one"), ObjectRemote.open(f"{bucket}/one-more")
    one.create("segments/x/zarr.json", b"123")
    other.create("segments/x/zarr.json", b"12345")
    assert one.sizes("segments/x/") == {"segments/x/zarr.json": 3}
    assert one.sizes("segments/y/") == {}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 12])
def test_the_newest_version_is_found_by_listing_and_by_asking(bucket, web_server, tmp_path, count):
    remote = ObjectRemote.open(bucket)
    (tmp_path / "w/versions").mkdir(parents=True)
    for version in range(1, count + 1):
        remote.create(f"versions/{version:06d}.json", b"{}")
        (tmp_path / f"w/versions/{version:06d}.json").write_bytes(b"{}")
    assert remote.newest_version() == count
    assert ObjectRemote.open(web_server(tmp_path / "w")).newest_version() == count


def test_a_web_server_is_read_only_and_far_ones_need_tls(web_server, tmp_path):
    (tmp_path / "store.json").write_bytes(b"{}")
    remote = ObjectRemote.open(web_server(tmp_path))
    assert remote.is_read_only
    assert remote.read("store.json") == b"{}"
    assert remote.read("nothing.json") is None
    with pytest.raises(UsageError, match="expected https://, found http://"):
        ObjectRemote.open("http://example.org/store")


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../b", "a//b", ".hidden", "a b", "ü"])
def test_keys_that_no_store_has_are_refused(bucket, key):
    with pytest.raises(StoreIntegrityError, match="expected the path of a file in a store"):
        ObjectRemote.open(bucket).read(key)


def test_what_has_to_be_installed_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(UsageError, match=r"pip install 'crossan\[s3\]'"):
        ObjectRemote.open("s3://bucket/x")


def test_a_bucket_that_is_not_there_is_final(faulty, bucket):
    with pytest.raises(RemoteError, match="cannot create store.json"):
        open_quick("s3://no-such-bucket-anywhere/x").create("store.json", b"{}")
    assert len(faulty.requests) == 1


@pytest.mark.parametrize("fault", ["reset", "500", "503"])
def test_ten_tries_are_all(faulty, bucket, fault):
    faulty.plan = [fault] * 50
    waits = []
    remote = ObjectRemote.open(bucket, sleep=waits.append)
    with pytest.raises(RemoteError, match="could not read store.json in 10 tries") as found:
        remote.read("store.json")
    assert found.value.exit_code == 8
    assert len(waits) == 9
    assert len(faulty.requests) <= 10  # a connection may die before its request is read
    assert all(0 <= wait <= min(5, 0.1 * 2**number) for number, wait in enumerate(waits))


def test_nine_failures_are_survived(faulty, bucket):
    faulty.plan = ["reset", "500", "503"] * 3
    assert open_quick(bucket).create("store.json", b"{}")
    assert len(faulty.requests) == 10


def test_a_lost_reply_is_no_conflict(faulty, bucket):
    faulty.plan = ["lost"]
    assert open_quick(bucket).create("versions/000001.json", b"ours")
    assert [request.split()[0] for request in faulty.requests] == ["PUT", "PUT", "GET"]


def test_somebody_elses_object_is_one_also_after_a_lost_reply(faulty, bucket):
    open_quick(bucket).create("versions/000001.json", b"theirs")
    faulty.plan = ["lost"]
    assert not open_quick(bucket).create("versions/000001.json", b"ours")


def test_half_a_body_is_not_taken_for_the_whole(faulty, bucket):
    open_quick(bucket).create("store.json", b"0123456789" * 1000)
    faulty.plan = ["cut", "cut"]
    assert open_quick(bucket).read("store.json") == b"0123456789" * 1000


@pytest.mark.timeout(3600)
def test_any_mix_of_faults_ends_in_the_truth_or_in_an_error(faulty, bucket):
    for seed in range(PLANS):
        chance = random.Random(seed)
        key, remote = f"segments/s{seed}/segment.json", open_quick(f"{bucket}/mix")
        data = chance.randbytes(chance.randint(1, 20_000))
        faulty.plan = [chance.choice(FAULTS) for _ in range(chance.randint(0, 14))]
        before = len(faulty.requests)
        with contextlib.suppress(RemoteError):  # ten tries may fail
            assert remote.create(key, data)
        assert len(faulty.requests) - before <= 20  # a create and the reading back
        faulty.plan = [chance.choice(FAULTS) for _ in range(chance.randint(0, 9))]
        assert remote.read(key) in {data, None}
        faulty.plan = []
        assert remote.create(key, data)
        assert remote.sizes(f"segments/s{seed}/") == {key: len(data)}
