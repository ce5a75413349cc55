"""Tensors are read from what torch wrote; nothing in a file is ever run."""

from __future__ import annotations

import contextlib
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError
from crossan.common.stores.interchange.tensor_archive import read_tensors


def saved(path, value):
    torch.save(value, path)
    return path


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
def test_every_float_reads_back(tmp_path, dtype):
    tensor = torch.arange(12, dtype=dtype).reshape(3, 4)
    np.testing.assert_array_equal(
        read_tensors(saved(tmp_path / "t.pt", tensor)), tensor.float().numpy()
    )


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.booleans(), st.integers(0, 3))
def test_views_read_back(tmp_path_factory, shape, is_turned, start):
    tensor = torch.arange(200, dtype=torch.float32)[start : start + int(np.prod(shape))].reshape(
        shape
    )
    tensor = tensor.transpose(0, -1) if is_turned else tensor
    path = saved(tmp_path_factory.getbasetemp() / "view.pt", tensor)
    np.testing.assert_array_equal(read_tensors(path), tensor.numpy())


def test_lists_tuples_and_dicts_read_back(tmp_path):
    one, two = torch.ones(2), torch.zeros(3)
    found = read_tensors(saved(tmp_path / "t.pt", [one, (two, one)]))
    assert [part.tolist() for part in (found[0], *found[1])] == [[1, 1], [0, 0, 0], [1, 1]]
    assert set(read_tensors(saved(tmp_path / "d.pt", {"a": one, "b": two}))) == {"a", "b"}
    assert list(read_tensors(saved(tmp_path / "o.pt", OrderedDict(a=one)))) == ["a"]


def rewritten(path, change):
    """Replace the pickle in an archive that torch has written."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(name, change(data) if name.endswith("data.pkl") else data)
    return path


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_a_file_is_not_run(tmp_path, protocol):
    path = saved(tmp_path / "t.pt", torch.ones(2))
    rewritten(path, lambda _: pickle.dumps(Bomb(tmp_path / "ran"), protocol=protocol))
    with pytest.raises(
        DataError, match=r"t\.pt: expected tensors of floats written by torch\.save, found"
    ):
        read_tensors(path)
    assert not (tmp_path / "ran").exists()


def test_other_things_are_refused(tmp_path):
    for value in ({"a": "text"}, torch.ones(2, dtype=torch.int64), [1, 2], torch.nn.Linear(2, 2)):
        with pytest.raises(DataError, match="expected tensors of floats"):
            read_tensors(saved(tmp_path / "t.pt", value))
    (tmp_path / "t.pt").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"t\.pt: expected a zip archive written by torch\.save"):
        read_tensors(tmp_path / "t.pt")
    torch.save(torch.ones(2), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match="expected a zip archive"):
        read_tensors(tmp_path / "old.pt")


@pytest.mark.parametrize(
    ("content", "opcode"),
    [
        (b"\x80\x02t.", "TUPLE"),  # no mark to gather from
        (b"\x80\x02NNa.", "APPEND"),  # None takes no item
        (b"\x80\x02h\x07.", "BINGET"),  # nothing was memorised
        (b"\x80\x02q\x07.", "BINPUT"),  # nothing to memorise
        (b"\x80\x02}]Ns.", "SETITEM"),  # a list is no key
    ],
)
def test_an_operand_that_an_opcode_cannot_take_is_refused(tmp_path, content, opcode):
    path = rewritten(saved(tmp_path / "t.pt", torch.ones(2)), lambda _: content)
    with pytest.raises(DataError, match=rf"a pickle that torch does not write \({opcode}\)"):
        read_tensors(path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    path = rewritten(
        saved(tmp_path / "t.pt", torch.ones(7)),
        lambda data: data.replace(b"K\x07\x85", b"K\x70\x85"),
    )
    with pytest.raises(DataError, match=r"a tensor \(112,\) beyond its storage of 7 values"):
        read_tensors(path)


def test_any_flipped_byte_is_an_error_or_another_tensor(tmp_path):
    path = saved(tmp_path / "t.pt", torch.ones(3))
    data = path.read_bytes()
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 0x15
        path.write_bytes(changed)
        with contextlib.suppress(DataError):
            assert read_tensors(path).dtype.kind == "f"
