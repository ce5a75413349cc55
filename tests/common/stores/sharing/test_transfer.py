"""Stores between folders: what travels, what it becomes, what is refused."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, StoreNotFoundError
from crossan.common.owners import our_token
from crossan.common.stores import Journal, create_store, fsck, logical_digest, open_store
from crossan.common.stores.claims import Claim
from crossan.common.stores.growing.collect import collect
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.journal_names import FREE
from crossan.common.stores.sharing.locations import FolderLocation
from crossan.common.stores.sharing.transfer import merge, transfer


def pull(source, target, version=None):
    return transfer(
        FolderLocation(source), FolderLocation(target), version=version, is_source_first=True
    )


def push(source, target):
    return transfer(FolderLocation(source), FolderLocation(target))


def digest_of(path):
    report = fsck(path)
    assert report.ok, report.problems
    return logical_digest(open_store(path))


def test_a_new_folder_becomes_the_same_store_with_the_same_versions(store, tmp_path):
    done = pull(store, tmp_path / "b")
    assert (done.version, done.segments) == (2, 2)
    assert digest_of(tmp_path / "b") == digest_of(store)
    assert open_store(tmp_path / "b").manifest_digest == open_store(store).manifest_digest
    assert len(open_store(tmp_path / "b", 1).item_ids) == 6
    assert not list((tmp_path / "b/staging").iterdir())


def test_only_what_is_missing_travels(store, tmp_path, append):
    pull(store, tmp_path / "b")
    append(store, range(20, 23))
    done = pull(store, tmp_path / "b")
    assert (done.version, done.segments) == (3, 1)
    again = pull(store, tmp_path / "b")
    assert (again.version, again.segments, again.byte_count) == (3, 0, 0)
    assert digest_of(tmp_path / "b") == digest_of(store)


def test_one_version_can_be_pulled(store, tmp_path):
    assert pull(store, tmp_path / "b", version=1).version == 1
    assert len(open_store(tmp_path / "b").item_ids) == 6
    with pytest.raises(
        StoreNotFoundError, match="expected version 9, found no versions/000009.json"
    ):
        pull(store, tmp_path / "c", version=9)


def test_push_is_a_pull_the_other_way(store, tmp_path, append):
    assert push(store, tmp_path / "remote").version == 2
    append(store, range(30, 31))
    assert push(store, tmp_path / "remote").segments == 1
    assert digest_of(tmp_path / "remote") == digest_of(store)
    pull(tmp_path / "remote", tmp_path / "b")
    assert push(tmp_path / "b", store).segments == 0


def test_two_teammates_who_both_went_on_end_with_the_same(store, tmp_path, append):
    remote, a, b = tmp_path / "remote", store, tmp_path / "b"
    push(a, remote)
    pull(remote, b)
    append(a, range(40, 42))
    append(b, range(50, 53))
    assert push(b, remote).version == 3
    assert push(a, remote).version == 4  # of both
    assert pull(remote, a).segments == 1
    assert pull(remote, b).segments == 1
    assert digest_of(a) == digest_of(b) == digest_of(remote)
    assert len(open_store(remote).item_ids) == 7 + 2 + 3
    assert push(a, remote).segments == push(b, remote).segments == 0
    assert pull(remote, a).segments == 0


def test_where_both_know_an_item_the_later_writer_wins_everywhere(store, tmp_path, append):
    remote, a, b = tmp_path / "remote", store, tmp_path / "b"
    push(a, remote)
    pull(remote, b)
    append(a, range(1, 2), values=range(201, 202))
    time.sleep(0.002)  # their clocks tell milliseconds
    append(b, range(1, 2), values=range(301, 302))
    push(b, remote)
    push(a, remote)
    pull(remote, a)
    pull(remote, b)
    for path in (remote, a, b):
        opened = open_store(path)
        assert opened.read([1])[0, 0, 0] == 301
    assert digest_of(a) == digest_of(b) == digest_of(remote)


def test_a_compaction_elsewhere_brings_nothing_back_and_loses_nothing(store, tmp_path, append):
    remote = tmp_path / "remote"
    push(store, remote)
    compact(store, "test")
    append(remote, range(1, 2), values=range(201, 202))  # newer than what was compacted
    assert push(store, remote).segments == 0
    assert open_store(remote).read([1])[0, 0, 0] == 201
    pull(remote, store)
    assert digest_of(store) == digest_of(remote)
    assert open_store(store).read([1])[0, 0, 0] == 201


def test_a_compacted_and_collected_store_can_be_pulled_from_any_state(store, tmp_path, append):
    early, late = tmp_path / "early", tmp_path / "late"
    pull(store, early)
    append(store, range(60, 64))
    compact(store, "test")
    collect(store, keep=1)
    for target in (early, late):
        pull(store, target)
        assert digest_of(target) == digest_of(store)
    assert len(open_store(late).records) == 1


def test_a_collected_version_says_so(store, tmp_path, append):
    append(store, range(60, 64))
    compact(store, "test")
    collect(store, keep=1)
    with pytest.raises(
        StoreNotFoundError,
        match="expected version 1, found that a garbage collection has removed 1 of",
    ):
        open_store(store, 1)


def test_another_fingerprint_is_refused(store, begin_store, make_identity, make_rows):
    other = begin_store(make_identity(inputs={"max_length": 64}), "other")
    journal = Journal.open(other, "j")
    journal.append(make_rows(range(3)))
    journal.publish({})
    with pytest.raises(IncompatibleError, match="expected a store of the fingerprint"):
        push(store, other)
    assert fsck(other).ok


def test_another_canary_is_refused(store, tmp_path, make_identity):
    create_store(tmp_path / "other", make_identity(), np.ones((4, 3, 8), np.float32))
    with pytest.raises(IncompatibleError, match="canary mismatch"):
        push(store, tmp_path / "other")


def test_damage_at_the_source_does_not_arrive(store, tmp_path):
    chunk = sorted(store.glob("segments/*/hidden_states/c/0/0/0"))[0]
    data = bytearray(chunk.read_bytes())
    data[5] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(
        StoreIntegrityError, match="c/0/0/0: expected 48,|expected .* bytes with SHA-256"
    ):
        pull(store, tmp_path / "b")
    data[5] ^= 1
    chunk.write_bytes(data)
    assert pull(store, tmp_path / "b").version == 2
    assert digest_of(tmp_path / "b") == digest_of(store)


def test_merging_links_the_files_of_all_jobs_into_one_version(
    tmp_path, begin_store, make_identity, make_rows, append
):
    jobs = [begin_store(make_identity(), f"job{number}") for number in range(3)]
    for number, job in enumerate(jobs):
        append(job, range(10 * number, 10 * number + 4))
    done = merge(
        [FolderLocation(job) for job in jobs], FolderLocation(tmp_path / "all", is_linked=True)
    )
    assert (done.segments, len(open_store(tmp_path / "all").item_ids)) == (3, 12)
    assert open_store(tmp_path / "all").version == 1
    ours = {path.stat().st_ino for path in (tmp_path / "all").rglob("c/0/0/0")}
    theirs = {path.stat().st_ino for job in jobs for path in job.rglob("c/0/0/0")}
    assert ours == theirs
    one = begin_store(make_identity(), "one")
    for number in range(3):
        append(one, range(10 * number, 10 * number + 4))
    assert digest_of(tmp_path / "all") == digest_of(one)
    again = merge(
        [FolderLocation(job) for job in jobs], FolderLocation(tmp_path / "all", is_linked=True)
    )
    assert (again.version, again.segments) == (1, 0)


def test_stores_of_two_codecs_can_be_merged(tmp_path, begin_store, make_identity, append):
    raw, packed = (
        begin_store(make_identity(), "raw"),
        begin_store(make_identity(codec="zstd"), "packed"),
    )
    append(raw, range(4))
    append(packed, range(10, 14))
    merge([FolderLocation(packed)], FolderLocation(raw, is_linked=True))
    opened = open_store(raw)
    assert opened.read(np.arange(8))[:, 0, 0].tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert fsck(raw).ok


def test_a_segment_that_was_collected_before_it_was_listed_travels_under_a_new_id(
    store, tmp_path, append
):
    remote = tmp_path / "remote"
    push(store, remote)
    append(store, range(70, 72))
    newest = open_store(store).records[-1].segment_id
    claim = Claim.take(remote, "transfer", newest)
    shutil.copytree(store / "segments" / newest, claim.build, dirs_exist_ok=True)
    claim.publish()
    # A push was killed here, before its manifest.
    claim.folder.rename(claim.folder.with_name(claim.folder.name.replace(our_token(), FREE)))
    assert collect(remote, keep=1).segments == (newest,)
    done = push(store, remote)
    assert done.segments == 1
    assert digest_of(remote) == digest_of(store)
    assert newest not in {record.segment_id for record in open_store(remote).records}
    assert push(store, remote).segments == 0
