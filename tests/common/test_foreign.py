"""Files of foreign origin: bounded, regular, of the right shape, or refused in one line."""

import errno
import os

import pytest
from pydantic import BaseModel, ConfigDict

from crossan.cache_schema.errors import DataError, ResourceError
from crossan.common.foreign import read_bounded, read_json, require_shape


class Shape(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    counts: dict[str, int]


def test_a_file_is_read_whole(tmp_path):
    (tmp_path / "x.json").write_bytes(b'{"name": "n", "counts": {}}')
    value = read_json(tmp_path / "x.json", DataError)
    assert require_shape(value, Shape, "x.json", DataError) == Shape(name="n", counts={})


def test_what_never_ends_or_blocks_is_refused_unread(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(DataError, match=f"{name}: expected a file, found a pipe or device"):
            read_bounded(tmp_path / name, DataError)
    with pytest.raises(DataError, match="expected a file, found a folder"):
        read_bounded(tmp_path, DataError)


def test_a_file_beyond_the_bound_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_bounded(tmp_path / "x", DataError, 5) == b"12345"
    with pytest.raises(DataError, match="x: expected at most 4 bytes, found 5"):
        read_bounded(tmp_path / "x", DataError, 4)


def test_nothing_there_is_told_from_what_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "x.json", DataError)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        read_json(tmp_path / "file" / "x.json", DataError)

    def refuse(*_):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("crossan.common.foreign.os.open", refuse)
    with pytest.raises(ResourceError, match="file: cannot be read: Permission denied"):
        read_json(tmp_path / "file", DataError)


def test_all_problems_of_a_file_are_named_and_none_at_length():
    value = {"name": 1, "counts": {"n" * 500: "x" * 500, **{str(n): None for n in range(9)}}}
    with pytest.raises(DataError) as refused:
        require_shape(value, Shape, "x.json", DataError)
    message = refused.value.message
    assert message.startswith("x.json: not as crossan writes it: name: input should be a valid")
    assert message.endswith("; 6 more")
    assert len(message) < 1_000
    with pytest.raises(DataError, match="the file: "):
        require_shape([], Shape, "x.json", DataError)
