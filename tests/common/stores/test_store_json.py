"""Every JSON file of a store, mutated in hundreds of ways: a typed error, or a file that says the same.

``CROSSAN_FAULTS=full`` tries 500 of each where a store is opened; the parsers alone always see 500.
"""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest

from crossan.cache_schema import ArrayLayout, Manifest, SegmentRecord, StoreIdentity, parse_object
from crossan.cache_schema.canonical import digest_of, pretty_bytes
from crossan.cache_schema.errors import CrossanError, StoreIntegrityError
from crossan.common.stores import fsck, open_store
from crossan.common.stores.growing.collect import collect
from crossan.common.stores.pins import pin_version, pinned_versions
from crossan.common.stores.sharing.locations import FolderLocation
from crossan.common.stores.sharing.transfer import transfer
from support.json_mutations import mutations
from support.redigest import redigest

OPENED = 500 if os.environ.get("CROSSAN_FAULTS") == "full" else 22
PARSED, TRANSFERRED = 500, OPENED // 4
FILES = {
    "store.json": StoreIdentity.from_dict,
    "versions/000001.json": Manifest.from_dict,
    "versions/000002.json": Manifest.from_dict,
    "segments/*/segment.json": SegmentRecord.from_dict,
    "segments/*/zarr.json": None,
    "segments/*/hidden_states/zarr.json": ArrayLayout.from_zarr,
}


def only_our_errors(*attempts):
    """Try each; return whether all went well, having let nothing but our own errors happen."""
    errors = []
    for attempt in attempts:
        try:
            attempt()
        except CrossanError as error:
            errors.append(error)
    assert {error.exit_code for error in errors} <= {2, 4, 5}
    assert all(len(str(error)) < 20_000 for error in errors)
    return not errors


@pytest.mark.parametrize("pattern", [pattern for pattern, parse in FILES.items() if parse])
def test_every_parser_takes_a_value_or_says_what_is_wrong(store, pattern):
    data = min(store.glob(pattern)).read_bytes()
    parse, taken = FILES[pattern], 0
    for _, changed in mutations(data, random.Random(1), PARSED):
        try:
            value = parse_object(changed, "x.json")
            if pattern.startswith("versions"):  # an attacker makes the digest fit
                value["digest"] = digest_of({k: v for k, v in value.items() if k != "digest"})
            parse(value, "x.json")
            taken += 1
        except CrossanError:
            pass
    assert taken < PARSED


@pytest.mark.parametrize("pattern", FILES)
def test_no_change_of_a_file_gives_other_values(store, pattern):
    """Each is covered by a digest, so a change is an error wherever the store is read."""
    path = min(store.glob(pattern))
    whole = path.read_bytes()
    for number, (kind, changed) in enumerate(mutations(whole, random.Random(2), OPENED)):
        path.write_bytes(changed)
        assert not only_our_errors(lambda: open_store(store).load()), (kind, number)
        assert not only_our_errors(lambda: _require_ok(store)), (kind, number)
        if number < TRANSFERRED:
            only_our_errors(lambda: _copied(store))
    path.write_bytes(whole)
    assert fsck(store).ok


@pytest.mark.parametrize("pattern", FILES)
def test_a_change_that_every_digest_agrees_with_is_taken_or_refused(store, pattern):
    path = min(store.glob(pattern))
    whole = {file: file.read_bytes() for file in store.rglob("*.json")}
    for number, (_, changed) in enumerate(mutations(whole[path], random.Random(3), OPENED)):
        path.write_bytes(changed)
        redigest(store)
        only_our_errors(lambda: open_store(store).load(), lambda: _require_ok(store))
        if number < TRANSFERRED:
            only_our_errors(lambda: _copied(store), lambda: collect(store, is_dry=True))
        for file, data in whole.items():
            file.write_bytes(data)
    assert fsck(store).ok


def _copied(store):
    target = store.with_name("copy")
    shutil.rmtree(target, ignore_errors=True)
    transfer(FolderLocation(store), FolderLocation(target))


def test_notes_of_pinned_versions_are_read_or_refused(store, tmp_path):
    lock = tmp_path / "runs/a/cache.lock.json"
    lock.parent.mkdir(parents=True)
    entry = {"store": str(store), "version": 2, "fingerprint": "f"}
    lock.write_bytes(pretty_bytes({"stores": {"text": entry}}))
    pin_version(store, 1, lock)
    (note,) = (store / "pins").iterdir()
    for path in (note, lock):
        whole = path.read_bytes()
        for kind, changed in mutations(whole, random.Random(4), PARSED):
            path.write_bytes(changed)
            try:
                pins = pinned_versions(store, [tmp_path / "runs"])
            except StoreIntegrityError as error:
                named = error.message
            else:
                named = str(path) if all(pin.version >= 1 for pin in pins) else "a wrong version"
            assert str(path) in named, kind
        path.write_bytes(whole)
    assert [pin.version for pin in pinned_versions(store, [tmp_path / "runs"])] == [1, 2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"holder": "a\0b"}, "expected 'holder' to hold the path of a file"),
        ({"holder": "x" * 70_000}, "expected 'holder' to hold the path of a file"),
        ({"version": 0}, "expected a version from 1 on, found 0"),
        ({"version": 1.0}, "expected 'version' to hold int, found 1.0"),
    ],
)
def test_a_note_that_names_nothing_is_refused(store, tmp_path, change, said):
    pin_version(store, 1, tmp_path / "lock")
    (note,) = (store / "pins").iterdir()
    note.write_text(json.dumps({**json.loads(note.read_text()), **change}))
    with pytest.raises(StoreIntegrityError, match=said):
        pinned_versions(store)


@pytest.mark.parametrize("pattern", [*FILES, "canary/features.npy"])
def test_metadata_is_read_up_to_64_mib(store, pattern):
    path = min(store.glob(pattern))
    with path.open("r+b") as file:
        file.truncate(2**40)  # a hole: nothing is written
    with pytest.raises(StoreIntegrityError, match=r"expected at most [0-9,]+ bytes, found 1,099"):
        FolderLocation(store).read(str(path.relative_to(store)))
    report = fsck(store)
    assert str(path) in {problem.where for problem in report.problems}
    assert not only_our_errors(
        lambda: transfer(FolderLocation(store), FolderLocation(store.parent / "b"))
    )


def test_a_manifest_of_too_many_segments_is_refused():
    entry = {"id": "20260102T030405-0123456789abcdef", "sha256": "0" * 64}
    value = {"schema_version": 1, "version": 1, "segments": [entry] * 100_001}
    value["digest"] = digest_of(value)
    with pytest.raises(StoreIntegrityError, match="expected up to 100,000 segments, found 100,001"):
        Manifest.from_dict(value, "000001.json")


def _require_ok(store):
    report = fsck(store)
    if not report.ok:
        raise StoreIntegrityError("found problems")
