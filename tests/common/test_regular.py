"""Only regular files of a real file system are opened, and nothing waits."""

import os
import socket
from pathlib import Path

import pytest

from crossan.common.regular import SpecialFileError, open_regular


def bind(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def test_a_regular_file_is_read_through_a_link(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"content"


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("a folder", Path.mkdir),
        ("a pipe", os.mkfifo),
        ("a socket", bind),
        ("a device", lambda path: path.symlink_to("/dev/zero")),
        ("a file that the kernel makes up", lambda path: path.symlink_to("/proc/self/status")),
        ("a file that the kernel makes up", lambda path: path.symlink_to("/proc/kmsg")),
    ],
)
def test_what_is_no_regular_file_is_named(tmp_path, monkeypatch, kind, make):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    make(Path("odd"))
    with pytest.raises(SpecialFileError, match=f"odd: expected a regular file, found {kind}"):
        open_regular(Path("odd"))


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"content")
    os.mkfifo(tmp_path / "odd")
    seen_before = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda path: seen_before)
    with pytest.raises(SpecialFileError, match="found a pipe"):
        open_regular(tmp_path / "odd")


@pytest.mark.parametrize("name", ["nothing", "with\0zero", "file/below"])
def test_a_missing_file_is_not_found(tmp_path, name):
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        open_regular(tmp_path / name)
