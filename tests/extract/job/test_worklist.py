"""Only what is new, changed or newly there is done again."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from crossan.cache_schema.modality import ItemStatus
from crossan.common.contents.digests import content_digest
from crossan.common.contents.media_list import Medium
from crossan.common.regular import open_regular
from crossan.extract.job.worklist import Finding, look_at, look_at_batches, take_first, unsettled


def _digest(path):
    with open_regular(path) as file:
        return f"digest of {file.read().decode()}"


def _look(medium):
    return look_at(medium, _digest, lambda title: f"digest of {title}")


def _left(media, recorded):
    found = [unsettled(findings, recorded) for findings in look_at_batches(media, _look, 2, 60.0)]
    return [[finding.medium.item_id for finding in findings] for findings in found if findings]


def test_a_title_is_looked_at_by_its_text():
    assert _look(Medium("a", title="one")) == Finding(Medium("a", title="one"), "digest of one")


def test_an_item_without_a_medium_is_absent():
    assert _look(Medium("a")).status is ItemStatus.ABSENT


@pytest.mark.parametrize("path", ["/nowhere/a.png", "file/a.png", "link", "a\0b"])
def test_a_path_without_a_file_is_missing(tmp_path, path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("gone")
    found = _look(Medium("a", path=tmp_path / path))
    assert (found.status, found.reason) == (
        ItemStatus.MISSING,
        "missing: no file at the path that the dataset gives",
    )


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("a folder", Path.mkdir),
        ("a pipe", os.mkfifo),
        ("a device", lambda path: path.symlink_to("/dev/zero")),
        ("a file that the kernel makes up", lambda path: path.symlink_to("/proc/kmsg")),
        ("a file that the kernel makes up", lambda path: path.symlink_to("/proc/self/environ")),
    ],
)
def test_what_is_no_regular_file_is_quarantined_and_not_read(tmp_path, kind, make):
    make(tmp_path / "a")
    found = look_at(Medium("a", path=tmp_path / "a"), content_digest, str)
    assert (found.status, found.reason, found.digest) == (
        ItemStatus.QUARANTINED,
        f"not-a-file: expected a regular file, found {kind}",
        None,
    )


def test_a_file_that_is_never_read_to_its_end_is_over_time():
    released = threading.Event()

    def hang_over_b(medium):
        if medium.item_id == "b":
            released.wait()
        return Finding(medium, "digest")

    batches = [(Medium("a"), Medium("b")), (Medium("c"),)]
    try:
        (one, two), (three,) = look_at_batches(batches, hang_over_b, 2, seconds=0.1)
    finally:
        released.set()
    assert (one.digest, three.digest) == ("digest", "digest")
    assert (two.status, two.reason, two.digest) == (
        ItemStatus.QUARANTINED,
        "over-time: not read within 0.1 s",
        None,
    )


def test_a_file_that_cannot_be_read_is_quarantined(tmp_path):
    (tmp_path / "a").write_text("x")

    def refuse(path):
        raise PermissionError(13, "a text of the library", str(path))

    found = look_at(Medium("a", path=tmp_path / "a"), refuse, str)
    assert (found.status, found.reason) == (ItemStatus.QUARANTINED, "unreadable: Permission denied")


def test_a_path_that_cannot_even_be_looked_at_is_quarantined(tmp_path):
    found = _look(Medium("a", path=tmp_path / ("n" * 300)))
    assert (found.status, found.reason) == (
        ItemStatus.QUARANTINED,
        "unreadable: File name too long",
    )


@pytest.mark.parametrize("status", [ItemStatus.OK, ItemStatus.QUARANTINED, ItemStatus.ABSENT])
def test_an_item_whose_content_is_recorded_is_left_alone(status):
    assert _left([(Medium("a", "one"),)], {"a": ("digest of one", status)}) == []


@pytest.mark.parametrize(
    "recorded",
    [
        {},
        {"a": ("digest of other", ItemStatus.OK)},
        {"a": ("digest of other", ItemStatus.QUARANTINED)},
        {"a": (None, ItemStatus.ABSENT)},
        {"a": (None, ItemStatus.MISSING)},
        {"a": ("digest of one", ItemStatus.DELETED)},
    ],
)
def test_new_changed_and_reappeared_content_is_done(recorded):
    assert _left([(Medium("a", "one"),)], recorded) == [["a"]]


def test_a_medium_that_is_still_missing_is_not_recorded_twice():
    missing = Medium("a", path=Path("/nowhere/a.png"))
    assert _left([(missing,)], {"a": (None, ItemStatus.MISSING)}) == []
    assert _left([(missing,)], {"a": ("digest", ItemStatus.OK)}) == [["a"]]


def test_a_partly_done_batch_keeps_its_missing_items_in_order():
    batches = [
        (Medium("a", "one"), Medium("b", "two"), Medium("c", "three")),
        (Medium("d", "four"),),
    ]
    recorded = {"b": ("digest of two", ItemStatus.OK), "d": ("digest of four", ItemStatus.OK)}
    assert _left(batches, recorded) == [["a", "c"]]


def test_a_limit_cuts_after_so_many_items():
    batches = [(Medium("a"), Medium("b")), (Medium("c"), Medium("d")), (Medium("e"),)]
    work = list(look_at_batches(batches, _look, 1, 60.0))
    assert [len(batch) for batch in take_first(work, 3)] == [2, 1]
    assert take_first(work, None) == work
    assert take_first(work, 99) == work
