"""The staging journal: durable batches, takeover, publication that survives a kill at every step."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from crossan.cache_schema.canonical import pretty_bytes
from crossan.cache_schema.errors import BusyError, ResourceError, StoreNotFoundError
from crossan.cache_schema.manifest import Manifest, SegmentEntry
from crossan.cache_schema.modality import ItemStatus
from crossan.cache_schema.segment import new_segment_id
from crossan.common.files import create_exclusively
from crossan.common.owners import our_token
from crossan.common.stores import ItemRow, Journal, fsck, open_store
from crossan.common.stores import journal as journal_module
from crossan.common.stores.journal_names import JournalName, is_abandoned
from crossan.common.stores.versions import read_version

JOB = "shard 1/1"


@pytest.fixture
def empty(begin_store, make_identity):
    return begin_store(make_identity())


def log_of(folder):
    return next((folder / "staging").glob("*/journal.log"))


def test_closed_journal_goes_on_where_it_stopped(empty, make_rows):
    first = Journal.open(empty, JOB)
    first.append([*make_rows(range(3)), ItemRow("v00008", None, ItemStatus.MISSING)])
    first.close()
    again = Journal.open(empty, JOB)
    assert again.row_count == 4
    assert again.entries["v00001"] == (f"{1:064x}", ItemStatus.OK)
    assert again.entries["v00008"] == (None, ItemStatus.MISSING)
    again.append(make_rows(range(3, 5)))
    assert again.publish({}) == 1
    assert again.row_count == 0
    assert again.age_seconds == 0.0
    assert open_store(empty).load()[:5, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_another_job_leaves_the_journal_alone(empty, make_rows):
    first = Journal.open(empty, JOB)
    first.append(make_rows(range(3)))
    first.close()
    assert Journal.open(empty, "shard 1/2").row_count == 0


def test_living_owner_keeps_its_journal(empty, make_rows):
    first = Journal.open(empty, JOB)
    first.append(make_rows(range(3)))
    assert Journal.open(empty, JOB).row_count == 0
    assert first.publish({}) == 1


def test_killed_process_is_taken_over(empty):
    script = """
        import os, signal, sys
        from crossan.cache_schema.modality import ItemStatus
        from crossan.common.stores import ItemRow, Journal
        journal = Journal.open(sys.argv[1], "shard 1/1")
        journal.append([ItemRow("a", None, ItemStatus.ABSENT)])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(empty)], check=False)
    assert ended.returncode == -9
    journal = Journal.open(empty, JOB)
    assert dict(journal.entries) == {"a": (None, ItemStatus.ABSENT)}
    assert len(list((empty / "staging").iterdir())) == 1


@pytest.mark.parametrize("cut", [1, 4, 20, 100])
def test_torn_batch_is_dropped_as_a_whole(empty, make_rows, cut):
    journal = Journal.open(empty, JOB)
    journal.append(make_rows(range(3)))
    journal.append(make_rows(range(3, 6)))
    journal.close()
    path = log_of(empty)
    os.truncate(path, path.stat().st_size - cut)
    again = Journal.open(empty, JOB)
    assert sorted(again.entries) == ["v00000", "v00001", "v00002"]
    again.append(make_rows(range(5, 7)))
    again.publish({})
    assert open_store(empty).load()[:, 2, 0].tolist() == [0.5, 1.5, 2.5, 5.5, 6.5]


def test_damaged_batch_and_what_follows_it_are_dropped(empty, make_rows):
    journal = Journal.open(empty, JOB)
    journal.append(make_rows(range(3)))
    end = log_of(empty).stat().st_size
    journal.append(make_rows(range(3, 6)))
    journal.close()
    with log_of(empty).open("r+b") as file:
        file.seek(end + 200)
        byte = file.read(1)
        file.seek(end + 200)
        file.write(bytes([byte[0] ^ 0x10]))
    assert Journal.open(empty, JOB).row_count == 3


def test_item_given_twice_keeps_the_later_row(empty, make_rows):
    journal = Journal.open(empty, JOB)
    journal.append(make_rows(range(3)))
    journal.append([ItemRow("v00001", None, ItemStatus.QUARANTINED, "corrupt")])
    assert journal.row_count == 3
    journal.publish({})
    opened = open_store(empty)
    assert opened.status.tolist() == ["ok", "quarantined", "ok"]
    assert opened.load()[[0, 2], 0, 0].tolist() == [0, 2]


@pytest.mark.parametrize(
    "step", ["before the rename", "before the manifest", "before the journal is emptied"]
)
def test_publication_cut_off_anywhere_is_finished_once(empty, make_rows, monkeypatch, step):
    class Killed(BaseException):
        pass

    def die(*arguments):
        raise Killed

    journal = Journal.open(empty, JOB)
    journal.append(make_rows(range(3)))
    with monkeypatch.context() as patch:
        if step == "before the rename":
            patch.setattr(journal_module.Path, "rename", die)
        elif step == "before the manifest":
            patch.setattr(journal_module, "commit_segment", die)
        else:
            patch.setattr(Journal, "_empty", die)
        with pytest.raises(Killed):
            journal.publish({})
    os.close(journal._log)
    left = journal._folder
    left.rename(
        left.with_name(str(JournalName(journal._name.job, "free", journal._name.segment_id)))
    )
    again = Journal.open(empty, JOB)
    again.publish({})
    again.close()
    assert read_version(empty).version == 1
    assert len(list((empty / "segments").iterdir())) == 1
    assert open_store(empty).item_ids.tolist() == ["v00000", "v00001", "v00002"]
    assert list((empty / "staging").iterdir()) == []
    assert fsck(empty).ok


def test_failed_commit_is_finished_before_more_is_appended(empty, make_rows, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    journal = Journal.open(empty, JOB)
    journal.append(make_rows(range(3)))
    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "commit_segment", full)
        with pytest.raises(OSError, match="No space left"):
            journal.publish({})
    journal.append(make_rows(range(3, 5)))
    assert journal.publish({}) == 2
    assert open_store(empty).load()[:, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_append_that_fails_leaves_no_torn_record(empty, make_rows, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    journal = Journal.open(empty, JOB)
    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "fsync", fail)
        with pytest.raises(
            ResourceError, match=r"no space left .*journal.log: \d+ bytes needed, [\d,]+ bytes free"
        ):
            journal.append(make_rows(range(3)))
    assert log_of(empty).stat().st_size == 0
    journal.append(make_rows(range(3, 5)))
    journal.close()
    assert sorted(Journal.open(empty, JOB).entries) == ["v00003", "v00004"]


def test_concurrent_publishers_all_get_their_version(empty, make_rows):
    journals = [Journal.open(empty, f"shard {number}/6") for number in range(1, 7)]
    for number, journal in enumerate(journals):
        journal.append(make_rows(range(number * 4, number * 4 + 4)))
    versions = []
    threads = [
        threading.Thread(target=lambda each=each: versions.append(each.publish({})))
        for each in journals
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(open_store(empty).load()[:, 0, 0], np.arange(24))
    assert fsck(empty).ok


def test_dropped_segment_is_published_again(store, make_rows, monkeypatch):
    journal = Journal.open(store, JOB)
    journal.append(make_rows(range(50, 52)))
    newest = read_version(store)
    collected = Manifest(
        version=newest.version + 1,
        parent=newest.digest,
        store_sha256=newest.store_sha256,
        canary_sha256=newest.canary_sha256,
        segments=newest.segments,
        dropped=(journal._name.segment_id,),
    )
    create_exclusively(store / "versions/000003.json", pretty_bytes(collected.to_dict()))
    assert journal.publish({}) == 4
    assert {"v00050", "v00051"} <= set(open_store(store).item_ids.tolist())


def test_empty_journal_publishes_nothing(empty, store):
    journal = Journal.open(empty.parent / "store", JOB)
    newest = read_version(store).version
    assert journal.publish({}) == newest
    journal.append([])
    assert journal.row_count == 0
    journal.close()
    journal.close()
    assert list((store / "staging").iterdir()) == []


def test_segment_without_a_row_reads_as_nan(empty):
    journal = Journal.open(empty, JOB)
    journal.append([ItemRow("a", None, ItemStatus.ABSENT), ItemRow("b", None, ItemStatus.MISSING)])
    journal.publish({})
    opened = open_store(empty)
    assert np.isnan(opened.load()).all()
    assert opened.load().shape == (2, 3, 8)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            ItemRow("", None, ItemStatus.ABSENT),
            "expected an item id without NUL and not empty, found ''",
        ),
        (ItemRow("a\0", None, ItemStatus.ABSENT), "expected an item id without NUL"),
        (ItemRow("a" * 1025, None, ItemStatus.ABSENT), "at most 1,024 bytes, found 1,025"),
        (ItemRow("\ud800", None, ItemStatus.ABSENT), "surrogates not allowed"),
        (
            ItemRow("a", None, ItemStatus.OK),
            "item 'a': expected a row exactly when the status is ok, found ok",
        ),
        (
            ItemRow("a", None, ItemStatus.ABSENT, row=np.zeros((3, 8), np.float16)),
            "exactly when the status is ok",
        ),
        (
            ItemRow("a", None, ItemStatus.OK, row=np.zeros((2, 8), np.float16)),
            r"expected a row \(3, 8\) of float16",
        ),
        (
            ItemRow("a", None, ItemStatus.OK, row=np.zeros((3, 8), np.float32)),
            "found .3, 8. of float32",
        ),
    ],
)
def test_items_that_no_store_can_hold_are_refused(empty, item, message):
    journal = Journal.open(empty, JOB)
    with pytest.raises(ValueError, match=message):
        journal.append([item])
    assert journal.row_count == 0


def test_journal_taken_over_stops_its_first_owner(empty, make_rows):
    journal = Journal.open(empty, JOB)
    journal._folder.rename(empty / "staging" / str(JournalName("0" * 12, "free", new_segment_id())))
    with pytest.raises(BusyError, match="expected our own journal, found it taken over"):
        journal.append(make_rows(range(1)))


def test_closed_journal_refuses_work(empty, make_rows):
    journal = Journal.open(empty, JOB)
    journal.close()
    with pytest.raises(ValueError, match="expected an open journal, found a closed one"):
        journal.append(make_rows(range(1)))


def test_journal_needs_a_store(tmp_path):
    with pytest.raises(StoreNotFoundError, match=r"expected store\.json, found none"):
        Journal.open(tmp_path, JOB)


def test_owner_is_abandoned_by_death_reboot_or_a_day_of_silence(tmp_path):
    place, process_id, start = our_token().split("-")
    assert not is_abandoned(tmp_path, our_token())
    assert is_abandoned(tmp_path, "free")
    assert is_abandoned(
        tmp_path, f"{place}-{process_id}-{int(start) + 1}"
    )  # the number was given to another process
    assert is_abandoned(tmp_path, f"{place}-4194305-{start}")  # beyond the largest process id
    assert is_abandoned(
        tmp_path, f"{place[:8]}00000000{place[16:]}-{process_id}-{start}"
    )  # an earlier boot
    other_host = f"00000000{place[8:]}-{process_id}-{start}"
    assert not is_abandoned(tmp_path, other_host)
    os.utime(tmp_path, (0, 0))
    assert is_abandoned(tmp_path, other_host)


def test_journal_names_read_back():
    name = JournalName("0123456789ab", our_token(), new_segment_id())
    assert JournalName.parse(str(name)) == name
    assert JournalName.parse("lost+found") is None


def test_manifest_entry_is_committed_once(store):
    from crossan.common.stores.versions import commit_segment

    first = read_version(store, 1).segments[0]
    assert commit_segment(store, SegmentEntry(first.segment_id, first.sha256)) == 2
    assert read_version(store).version == 2


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_every_file_of_a_store_is_as_open_as_the_umask_says(
    begin_store, make_identity, make_rows, umask
):
    before = os.umask(umask)
    try:
        folder = begin_store(make_identity())
        journal = Journal.open(folder, "shard 1/1")
        journal.append(make_rows(range(3)))
        journal.publish({})
        journal.append(make_rows(range(3, 5)))
        files = [path for path in folder.rglob("*") if path.is_file()]
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
        journal.close()
    finally:
        os.umask(before)
    assert {"journal.log", "items.parquet", "store.json"} <= set(modes)
    assert modes == dict.fromkeys(modes, 0o666 & ~umask)
