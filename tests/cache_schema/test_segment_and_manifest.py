"""Segment records and manifests as values: round trips, and what they refuse."""

from __future__ import annotations

import time

import pytest

from crossan.cache_schema import (
    FileEntry,
    Manifest,
    SegmentEntry,
    SegmentRecord,
    parse_object,
    pretty_bytes,
)
from crossan.cache_schema.canonical import digest_of
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.manifest import version_name, version_number
from crossan.cache_schema.segment import is_segment_id, new_segment_id, new_stamp

SEGMENT_ID = "20260102T030405-0123456789abcdef"
SHA = "a" * 64


def _set(path, new):
    def change(value):
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = new

    return change


def record(*files):
    metadata = [
        FileEntry(path, 10, SHA)
        for path in ("zarr.json", "hidden_states/zarr.json", "items.parquet")
    ]
    return SegmentRecord(
        segment_id=SEGMENT_ID,
        fingerprint=SHA,
        item_count=3,
        row_count=2,
        files=(*metadata, *files),
        producer={"seconds": 1.5},
    )


def test_segment_record_reads_back_from_its_own_json():
    made = record(FileEntry("hidden_states/c/0/0/0", 20, SHA, crc32c=0xDEADBEEF))
    assert SegmentRecord.from_dict(parse_object(pretty_bytes(made.to_dict()), "x"), "x") == made
    assert made.to_dict()["files"][3]["crc32c"] == "deadbeef"


def test_segment_record_of_before_there_were_stamps_is_read():
    made = record()
    value = made.to_dict()
    for name in ("replaces", "rescued", "stamp"):
        del value[name]
    assert SegmentRecord.from_dict(value, "x") == made
    assert made.holding.stamp == 0


def test_a_new_stamp_is_higher_than_what_is_known_whatever_the_clock_says():
    now = new_stamp(0)
    assert now >> 20 == pytest.approx(time.time() * 1_000, abs=60_000)
    ahead = now + (10**9 << 20)
    assert ahead < new_stamp(ahead) < ahead + (2 << 20)
    assert len({new_stamp(ahead) for _ in range(20)}) > 1
    assert new_stamp(2**63 - 1) == 2**63 - 1  # the end: from there on the manifest's order tells


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _set(["files", 0, "path"], "../../etc/passwd"),
            "expected a path that a segment has, found '../../etc/passwd'",
        ),
        (
            _set(["files", 3, "path"], "hidden_states/c/00/0/0"),
            "expected a path that a segment has",
        ),
        (
            _set(["files", 3, "path"], "hidden_states/c/1/0/0"),
            r"expected the chunks in order without a gap, found \[1\]",
        ),
        (
            _set(["files", 0, "path"], "items.parquet"),
            "expected the three metadata files once each",
        ),
        (_set(["files", 3, "crc32c"], "xyz"), "expected size and digests of hidden_states/c/0/0/0"),
        (_set(["files", 0, "size"], -1), "expected size and digests of zarr.json"),
        (_set(["files"], [1]), "expected a list of up to 1,000,000 files"),
        (_set(["segment"], "../x"), "expected a segment id, found '../x'"),
        (_set(["stamp"], -1), "expected a stamp from 0 to 9223372036854775807, found -1"),
        (
            _set(["stamp"], 2**63),
            "expected a stamp from 0 to 9223372036854775807, found 9223372036854775808",
        ),
        (_set(["stamp"], 1.5), "expected 'stamp' to hold int, found 1.5"),
        (_set(["rows"], 4), "expected no more rows than items, found 4 rows of 3 items"),
        (_set(["items"], True), "expected 'items' to hold int, found True"),
    ],
)
def test_segment_record_of_another_form_is_refused(change, message):
    value = record(FileEntry("hidden_states/c/0/0/0", 20, SHA, crc32c=1)).to_dict()
    change(value)
    with pytest.raises(StoreIntegrityError, match=message):
        SegmentRecord.from_dict(value, "segment.json")


def manifest(**fields):
    plain = {
        "version": 2,
        "parent": SHA,
        "store_sha256": SHA,
        "canary_sha256": SHA,
        "segments": (SegmentEntry(SEGMENT_ID, SHA),),
    }
    return Manifest(**{**plain, **fields})


def test_manifest_reads_back_from_its_own_json():
    made = manifest(dropped=("20260102T030405-00000000000000ff",))
    assert Manifest.from_dict(parse_object(pretty_bytes(made.to_dict()), "x"), "x") == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set(["version"], 3), "expected content with the digest"),
        (
            _set(["digest"], "0" * 64),
            f"expected content with the digest {manifest().digest}, found '000",
        ),
        (_set(["schema_version"], 2), "expected content with the digest"),  # damage, not the future
    ],
)
def test_manifest_of_another_digest_is_refused(change, message):
    value = manifest().to_dict()
    change(value)
    with pytest.raises(StoreIntegrityError, match=message):
        Manifest.from_dict(value, "000002.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set(["extra"], 3), "expected the keys schema_version, version, .* found others too"),
        (_set(["segments", 0, "id"], "../x"), "expected a segment id and its SHA-256"),
        (_set(["segments", 0], 5), "expected a segment id and its SHA-256, found 5"),
        (_set(["segments"], manifest().to_dict()["segments"] * 2), "expected every segment once"),
        (_set(["dropped"], ["x"]), "expected segment ids in 'dropped'"),
    ],
)
def test_manifest_of_another_form_is_refused(change, message):
    value = manifest().to_dict()
    change(value)
    value["digest"] = digest_of({key: value[key] for key in value if key != "digest"})
    with pytest.raises(StoreIntegrityError, match=message):
        Manifest.from_dict(value, "000002.json")


def test_version_names_read_back():
    assert version_name(1) == "000001.json"
    assert version_number("000012.json") == 12
    assert [
        version_number(name) for name in ("000000.json", "0000012.json", ".000001.json.7", "x")
    ] == [None] * 4
    assert version_number(version_name(1_234_567)) == 1_234_567


def test_new_segment_ids_have_their_form_and_differ():
    first, second = new_segment_id(), new_segment_id()
    assert is_segment_id(first)
    assert first != second
    assert not is_segment_id(f"../{first}")
