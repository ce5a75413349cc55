"""A chunk that changes after it was checked is never read unchecked, and never ends the process."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import ItemRow, Journal, create_store, open_store, stored_rows
from crossan.common.stores.chunk_file import ChunkFile, FileState

KINDS = {"stitched": (1024, "raw"), "scattered": (20, "raw"), "packed": (20, "zstd")}
"""Width of a layer and codec, by how the chunks are mapped."""
ITEMS = 200
EXAMPLES = 2_000 if os.environ.get("CROSSAN_FAULTS") == "full" else 25


def make(folder, kind):
    dim, codec = KINDS[kind]
    identity = StoreIdentity(
        modality=Modality.TEXT, backbone={"id": "b"}, inputs={}, dim=dim, codec=codec,
        capture={"layers": [0, 2], "pooling": "cls"},
    )  # fmt: skip
    create_store(folder, identity, np.zeros((4, 2, dim), np.float32))
    values = np.random.default_rng(0).normal(size=(ITEMS, 2, dim)).astype(np.float16)
    journal = Journal.open(folder, "j")
    for numbers in (range(0, ITEMS, 2), range(1, ITEMS, 2)):
        journal.append(
            [ItemRow(f"v{n:05d}", f"{n:064x}", ItemStatus.OK, row=values[n]) for n in numbers]
        )
        journal.publish({})
    journal.close()
    return values


def chunks_of(store):
    return sorted(store.glob("segments/*/hidden_states/c/*/0/0"))


@pytest.fixture(scope="module", params=KINDS)
def original(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "store"
    return folder, make(folder, request.param)


@pytest.fixture
def written(original, tmp_path):
    """Return a store to damage, its values, and one of its chunks."""
    folder, values = original
    shutil.copytree(folder, tmp_path / "store")
    return tmp_path / "store", values, chunks_of(tmp_path / "store")[0]


def rows_of(store, chunk):
    """Return the rows of the items that lie in a segment's one chunk, and of all others."""
    listed = pq.read_table(chunk.parents[4] / "items.parquet").column("item_id").to_pylist()
    inside = np.isin(open_store(store).item_ids, listed)
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def flip_in_place(chunk, byte=5):
    with chunk.open("r+b") as file:
        file.seek(byte)
        before = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([before ^ 0x10]))


def flip_and_set_the_times_back(chunk):
    status = chunk.stat()
    flip_in_place(chunk)
    os.utime(chunk, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_a_damaged_copy(chunk):
    copy = chunk.with_name("copy")
    shutil.copy2(chunk, copy)
    flip_in_place(copy)
    copy.replace(chunk)


def cut_short(chunk):
    os.truncate(chunk, 8)


def cut_and_remove(chunk):
    os.truncate(chunk, 8)
    chunk.unlink()


def swap_for_a_folder(chunk):
    chunk.unlink()
    chunk.mkdir()


DAMAGES = [
    flip_in_place,
    flip_and_set_the_times_back,
    replace_by_a_damaged_copy,
    cut_short,
    cut_and_remove,
    swap_for_a_folder,
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("is_mapped", [True, False])
def test_damage_after_the_check_is_named_and_costs_no_other_chunk(written, damage, is_mapped):
    store, values, chunk = written
    inside, outside = rows_of(store, chunk)
    opened = open_store(store)
    for _ in range(2):
        np.testing.assert_array_equal(opened.read(np.arange(ITEMS), is_mapped=is_mapped), values)
    damage(chunk)
    for layers in (None, [2]):
        with pytest.raises(StoreIntegrityError) as raised:
            opened.read(inside, layers, is_mapped=is_mapped)
        assert raised.value.message.startswith(str(chunk))
        assert f"{len(inside):,} items lie in it, first: " in raised.value.message
    np.testing.assert_array_equal(opened.read(outside, is_mapped=is_mapped), values[outside])
    if damage is not cut_and_remove:  # what is gone may have been collected: its mapping serves
        with pytest.raises(StoreIntegrityError, match="items lie in it"):
            list(opened.recheck())
    with pytest.raises(StoreIntegrityError, match="items lie in it"):
        opened.load()


def link_elsewhere(chunk):
    os.link(chunk, chunk.parents[5].parent / "link")


def replace_by_a_sound_copy(chunk):
    shutil.copy(chunk, chunk.with_name("copy"))
    chunk.with_name("copy").replace(chunk)


@pytest.mark.parametrize(
    "change",
    [link_elsewhere, replace_by_a_sound_copy, os.utime, lambda chunk: chunk.unlink()],
    ids=["linked", "replaced", "touched", "collected"],
)
@pytest.mark.parametrize("was_checked", [True, False])
def test_a_change_that_keeps_the_bytes_changes_nothing(written, change, was_checked):
    store, values, chunk = written
    opened, rows = open_store(store), np.random.default_rng(1).integers(0, ITEMS, 300)
    if was_checked:
        opened.read(rows)
        opened.read(rows, is_mapped=False)
    change(chunk)
    for _ in range(2):
        for is_mapped in (True, False):
            np.testing.assert_array_equal(opened.read(rows, is_mapped=is_mapped), values[rows])
            found = opened.read(rows, [2], is_mapped=is_mapped)
            np.testing.assert_array_equal(found, values[rows][:, 1:])
    np.testing.assert_array_equal(opened.load(), values)
    assert sum(opened.recheck()) == sum(path.stat().st_size for path in chunks_of(store))


@pytest.mark.parametrize("is_mapped", [True, False])
def test_what_changes_while_it_is_copied_is_not_given_out(written, is_mapped, monkeypatch):
    """Between the look before the copying and the one after it, or between sum and row."""
    store, _, chunk = written
    opened = open_store(store)
    opened.read(np.arange(ITEMS), is_mapped=is_mapped)
    time.sleep(0.06)  # until a write shows in the times whatever the clock of the file system
    opened.read(np.arange(ITEMS), is_mapped=is_mapped)
    owner, name = (
        (stored_rows.StoredRows, "_gather_mapped") if is_mapped else (stored_rows, "read_file_rows")
    )
    copy, flipped = getattr(owner, name), []

    def flip_first(*arguments):
        if not flipped and (is_mapped or arguments[0].path == chunk):
            flip_in_place(chunk)
            flipped.append(1)
        return copy(*arguments)

    monkeypatch.setattr(owner, name, flip_first)
    with pytest.raises(StoreIntegrityError, match="items lie in it"):
        opened.read(np.arange(ITEMS), is_mapped=is_mapped)
    assert flipped


def test_a_write_within_the_tick_of_the_check_is_seen(written, monkeypatch):
    """A file that is so new that a write could leave its times as they are is summed anew."""
    store, _, chunk = written
    opened = open_store(store)
    frozen = {path: FileState.of(path.stat()) for path in chunks_of(store)}
    monkeypatch.setattr(ChunkFile, "state", lambda self: frozen[self.path])
    monkeypatch.setattr(ChunkFile, "is_still", lambda self, state: state == frozen[self.path])
    monkeypatch.setattr(time, "time_ns", lambda: frozen[chunk].changed_ns + 1)
    opened.read(np.arange(ITEMS))
    flip_in_place(chunk)  # in the same tick: the state is as before
    with pytest.raises(StoreIntegrityError, match="items lie in it"):
        opened.read(np.arange(ITEMS))


def test_a_disk_that_cannot_read_is_an_error_of_the_store(written, monkeypatch):
    store, _, chunk = written
    opened = open_store(store)

    def fail(*_arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    monkeypatch.setattr(os, "pread", fail)
    for read in (
        lambda: opened.read(np.arange(ITEMS)),
        lambda: opened.read(np.arange(ITEMS), is_mapped=False),
        opened.load,
        lambda: list(opened.recheck()),
    ):
        with pytest.raises(StoreIntegrityError, match="some that cannot be read: Input/output"):
            read()
    assert chunk.exists()


_opened = functools.cache(open_store)  # so that what was checked for one example serves the next


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_flips_give_the_right_rows_or_an_error(original, data):
    """The slow twin is the table of values: every row that is given out is the one written."""
    folder, values = original
    opened = _opened(folder)
    chunk = data.draw(st.sampled_from(chunks_of(folder)))
    whole = chunk.read_bytes()
    bits = data.draw(
        st.lists(st.integers(0, 8 * len(whole) - 1), min_size=1, max_size=4, unique=True)
    )
    damaged = bytearray(whole)
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    rows = np.array(data.draw(st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=8)))
    try:
        chunk.write_bytes(damaged)
        for is_mapped in (True, False):
            with contextlib.suppress(StoreIntegrityError):
                found = opened.read(rows, is_mapped=is_mapped)
                np.testing.assert_array_equal(found, values[rows])
        with pytest.raises(StoreIntegrityError):
            list(opened.recheck())
    finally:
        chunk.write_bytes(whole)
    for is_mapped in (True, False):
        np.testing.assert_array_equal(opened.read(rows, is_mapped=is_mapped), values[rows])


@pytest.mark.parametrize("damage", [cut_short, cut_and_remove])
def test_a_file_that_is_cut_before_its_first_read_ends_no_process(written, damage):
    """A touched page of a mapping without file is SIGBUS, which no except clause catches."""
    store, _, chunk = written
    for read in (
        lambda opened: opened.read(np.arange(ITEMS)),
        lambda opened: opened.read(np.arange(ITEMS), is_mapped=False),
        lambda opened: opened.load(),
    ):
        opened, whole = open_store(store), chunk.read_bytes()
        damage(chunk)
        with pytest.raises(StoreIntegrityError, match="items lie in it"):
            read(opened)
        chunk.write_bytes(whole)


def test_what_changed_since_it_was_compared_is_compared_again(written):
    store, _, chunk = written
    opened = open_store(store)
    sizes = [path.stat().st_size for path in chunks_of(store)]
    assert sorted(opened.recheck(is_changed_only=True)) == sorted(sizes)
    assert list(opened.recheck(is_changed_only=True)) == []
    os.utime(chunk)
    assert list(opened.recheck(is_changed_only=True)) == [chunk.stat().st_size]
    flip_in_place(chunk)
    with pytest.raises(StoreIntegrityError, match="items lie in it"):
        list(opened.recheck(is_changed_only=True))
