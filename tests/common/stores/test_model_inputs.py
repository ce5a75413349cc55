"""The store of model inputs: what was written comes back, and damage never passes for it."""

import numpy as np
import pytest

from crossan.cache_schema.canonical import canonical_bytes, sha256_hex
from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import model_inputs
from crossan.common.stores.model_inputs import InputRow, InputStore, inputs_folder

IDENTITY = {"modality": "image", "processor": "made up"}


def row(item, seed=0, **arrays):
    random = np.random.default_rng([seed, int(item[1:])])
    made = {
        "pixel_values": random.integers(0, 256, (3, 4, 4), np.uint8),
        "input_ids": random.integers(0, 99, (5,), np.int32),
    }
    return InputRow(item, f"digest {item} {seed}", arrays or made)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "inputs"


def same(read, written):
    return read.keys() == written.arrays.keys() and all(
        np.array_equal(read[name], array) and read[name].dtype == array.dtype
        for name, array in written.arrays.items()
    )


def test_what_was_written_comes_back_in_any_process(folder):
    rows = [row("i0"), row("i1"), row("i2", samples=np.ones((7,), np.float32))]
    with InputStore(folder, IDENTITY) as store:
        store.append(rows[:2])
        store.append(rows[2:])
    with InputStore(folder, IDENTITY) as store:
        for written in rows:
            record = store.record_of(written.item_id, written.digest)
            assert same(store.read(record), written)
        assert store.record_of("i0", "digest of another title") is None
        assert store.newest("i9") is None


def test_an_item_without_inputs_keeps_its_reason(folder):
    store = InputStore(folder, IDENTITY)
    store.append([InputRow("i0", "d", None, ItemStatus.QUARANTINED, "empty-file: 0 bytes")])
    record = InputStore(folder, IDENTITY).newest("i0")
    assert (record.status, record.reason) == (ItemStatus.QUARANTINED, "empty-file: 0 bytes")
    assert record.byte_count == 0


def test_the_newest_content_is_found_and_the_old_one_stays(folder):
    store = InputStore(folder, IDENTITY)
    old, new = row("i0"), row("i0", seed=1)
    store.append([old])
    store.append([new])
    for each in (store, InputStore(folder, IDENTITY)):
        assert each.newest("i0").digest == new.digest
        assert same(each.read(each.record_of("i0", old.digest)), old)


def test_more_parts_than_files_may_be_open(folder, monkeypatch):
    monkeypatch.setattr(model_inputs, "_MOST_OPEN", 2)
    store, rows = InputStore(folder, IDENTITY), [row(f"i{n}") for n in range(5)]
    for each in rows:
        store.append([each])
    for each in [*rows, *rows]:
        assert same(store.read(store.newest(each.item_id)), each)
        assert len(store._files) <= 2


def test_two_processes_add_to_one_store(folder):
    one, other = InputStore(folder, IDENTITY), InputStore(folder, IDENTITY)
    one.append([row("i0")])
    other.append([row("i1"), row("i0")])
    one.refresh()
    assert same(one.read(one.newest("i1")), row("i1"))
    assert same(one.read(one.newest("i0")), row("i0"))


@pytest.mark.parametrize("suffix", [".bin", ".json"])
def test_a_changed_byte_is_never_read_as_inputs(folder, suffix):
    InputStore(folder, IDENTITY).append([row("i0"), row("i1")])
    (path,) = (each for each in folder.iterdir() if each.suffix == suffix and "inputs" not in each.name)  # fmt: skip
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(StoreIntegrityError, match="other bytes|expected bytes with the digest"):
            read_all(folder)


def read_all(folder):
    with InputStore(folder, IDENTITY) as store:
        return [store.read(store.newest(item)) for item in ("i0", "i1")]


def test_arrays_that_end_too_early_are_damage(folder):
    InputStore(folder, IDENTITY).append([row("i0"), row("i1")])
    (path,) = folder.glob("*.bin")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreIntegrityError, match="the model inputs of i1 as they were written"):
        read_all(folder)


def test_a_part_that_was_cut_off_before_its_record_is_no_part(folder):
    """A process was killed between the two files; another writes the items again."""
    InputStore(folder, IDENTITY).append([row("i0"), row("i1")])
    (record,) = (each for each in folder.glob("*.json") if each.name != "inputs.json")
    record.unlink()
    store = InputStore(folder, IDENTITY)
    assert store.newest("i0") is None
    store.append([row("i0"), row("i1")])
    assert len(read_all(folder)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 2**40},
        {"arrays": [{"name": "x", "dtype": "object", "shape": [1]}]},
        {"arrays": [{"name": "x", "dtype": "uint8", "shape": [2**31 - 1, 2**31 - 1]}]},
        {"arrays": [{"name": "x", "dtype": "uint8", "shape": [-1]}]},
        {"more": 1},
    ],
    ids=["beyond", "objects", "enormous", "negative", "unknown"],
)
def test_a_record_of_foreign_origin_is_refused(folder, change):
    InputStore(folder, IDENTITY)
    item = {"item_id": "i0", "digest": None, "status": "ok", "reason": None, "offset": 0}
    part = {"stamp": 1, "byte_count": 4, "items": [{**item, "arrays": [], "crc32c": 0, **change}]}
    data = canonical_bytes(part)
    (folder / f"{sha256_hex(data)}.json").write_bytes(data)
    with pytest.raises(StoreIntegrityError):
        InputStore(folder, IDENTITY)


def test_inputs_of_another_identity_are_refused(folder):
    InputStore(folder, IDENTITY)
    with pytest.raises(IncompatibleError, match="expected model inputs of the identity"):
        InputStore(folder, {**IDENTITY, "processor": "another"})


def test_names_of_datasets_never_leave_the_cache(tmp_path):
    folder = inputs_folder(tmp_path, "../../etc", Modality.TEXT, IDENTITY)
    assert folder.resolve().is_relative_to(tmp_path.resolve())
    assert folder.name.startswith("text-")


def test_arrays_of_objects_are_refused(folder):
    store = InputStore(folder, IDENTITY)
    with pytest.raises(ValueError, match="expected arrays of uint8"):
        store.append([row("i0", names=np.array([1.0], np.float16))])
    assert not list(folder.glob("*.bin"))
