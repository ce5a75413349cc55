"""Flipped bits, and files cut, emptied, extended, exchanged or gone: noticed, and never taken for values.

``CROSSAN_FAULTS=full`` flips 20,000 bits and every bit of one chunk, and damages 1,000 files.
"""

from __future__ import annotations

import contextlib
import os
import random

import numpy as np
import pytest

from crossan.cache_schema.errors import CrossanError, StoreIntegrityError, StoreNotFoundError
from crossan.common.stores import fsck, open_store

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
FLIPS, FILES, EVERY_BIT = (6_700, 334, 1) if IS_FULL else (60, 30, 997)
"""Per kind of store, of which there are three."""


def files_of(store):
    return [
        path for path in sorted(store.rglob("*")) if path.is_file() and "staging" not in path.parts
    ]


@contextlib.contextmanager
def changed(path, data):
    """Give a file other bytes, None for none at all; put the old ones back."""
    before = path.read_bytes()
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


def flipped(data, bit):
    changed_data = bytearray(data)
    changed_data[bit // 8] ^= 1 << bit % 8
    return bytes(changed_data)


@pytest.mark.timeout(7200)
def test_every_flipped_bit_is_found_and_named(sample):
    chance = random.Random(0)
    files = files_of(sample)
    for _ in range(FLIPS):
        path = chance.choice(files)
        data = path.read_bytes()
        with changed(path, flipped(data, chance.randrange(8 * len(data)))):
            report = fsck(sample)
            assert not report.ok, path
            assert any(str(path) in problem.where for problem in report.problems), (
                path,
                report.problems,
            )
            if "/c/" in str(path):
                check_first_read(sample, path)
    assert fsck(sample).ok


def check_first_read(sample, path):
    """The items in the damaged chunk are refused by name; the others are read."""
    opened = open_store(sample)
    refused = []
    for row in range(0, len(opened.item_ids), 7):
        try:
            values = opened.read([row])
        except StoreIntegrityError as error:
            refused.append(error.message)
        else:
            assert np.isfinite(values).all() == opened.presence[row]
    assert all(
        str(path) in message and "items lie in it, first: " in message for message in refused
    )
    with pytest.raises(StoreIntegrityError, match="items lie in it, first: "):
        open_store(sample).load()
    assert len(refused) < len(range(0, len(opened.item_ids), 7))


@pytest.mark.timeout(7200)
@pytest.mark.exhaustive
def test_every_bit_of_one_chunk(sample):
    path = next(path for path in files_of(sample) if str(path).endswith("/c/0/0/0"))
    data = path.read_bytes()
    for bit in range(0, 8 * len(data), EVERY_BIT if len(data) < 10_000 or not IS_FULL else 31):
        with changed(path, flipped(data, bit)):
            assert [problem.where for problem in fsck(sample).problems] == [str(path)]


def damage(chance, path, files):
    """Return the bytes of one kind of damage, None for a deletion."""
    data = path.read_bytes()
    kind = chance.choice(["cut", "emptied", "extended", "exchanged", "deleted", "zeroed"])
    if kind == "cut":
        return data[: chance.randrange(len(data))]
    if kind == "extended":
        return data + chance.randbytes(chance.randint(1, 100))
    if kind == "exchanged":
        others = [
            other for other in files if other.name == path.name and other.read_bytes() != data
        ]
        return chance.choice(others).read_bytes() if others else b"{}"
    return {"emptied": b"", "deleted": None, "zeroed": bytes(len(data))}[kind]


@pytest.mark.timeout(7200)
def test_damaged_files_are_errors_and_never_values(sample):
    chance = random.Random(1)
    whole = open_store(sample).load()
    files = files_of(sample)
    newest = sample / "versions/000003.json"
    for _ in range(FILES):
        path = chance.choice(files)
        data = damage(chance, path, files)
        with changed(path, data):
            assert not fsck(sample).ok, path
            if path == newest and data is None:
                check_lost_version(sample)
                continue
            try:
                found = open_store(sample).load()
            except CrossanError as error:
                found = error.exit_code
            if path.parent.name == "canary":  # which reading does not need
                np.testing.assert_array_equal(found, whole)
            else:
                assert found in (2, 4), path
    assert fsck(sample).ok
    np.testing.assert_array_equal(open_store(sample).load(), whole)


def check_lost_version(sample):
    """The newest manifest is gone: its segment tells, and whoever recorded the version is told."""
    assert {problem.code for problem in fsck(sample).problems} == {"unlisted-segment"}
    with pytest.raises(StoreNotFoundError, match="expected version 3, found versions 1 to 2"):
        open_store(sample, 3)
