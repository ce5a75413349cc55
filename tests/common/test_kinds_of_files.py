"""An error says what lies at a path, and of a link where it leads."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.files import read_regular
from crossan.common.kinds_of_files import what_lies_at


def bind(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


KINDS = {
    "nothing": lambda _: None,
    "a file": lambda path: path.touch(),
    "a folder": lambda path: path.mkdir(),
    "a named pipe": os.mkfifo,
    "a socket": bind,
    "a link to nowhere, which is not there": lambda path: path.symlink_to("nowhere"),
    "a link to itself, which is not there": lambda path: (
        path.with_name("itself").symlink_to("itself") or path.symlink_to("itself")
    ),
    "a link to .": lambda path: path.symlink_to("."),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_words(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    KINDS[kind](tmp_path / "x")
    assert what_lies_at(tmp_path / "x") == kind
    assert what_lies_at(tmp_path / "x/below") == "nothing" or kind.startswith("a link")


@pytest.mark.parametrize("kind", ["nothing", "a folder", "a named pipe", "a socket"])
def test_a_read_says_what_was_there_and_does_not_wait_for_it(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    KINDS[kind](tmp_path / "x")
    with pytest.raises(StoreIntegrityError, match=f"x: expected a file, found {kind}$"):
        read_regular(tmp_path, "x")


@pytest.mark.parametrize("moment", ["stat", "read_bytes"])
def test_a_file_that_goes_while_it_is_read_is_one_that_is_not_there(tmp_path, monkeypatch, moment):
    """As a collector takes it: a reader of a store looks for a newer version then."""
    (tmp_path / "x").write_bytes(b"1")
    left = getattr(Path, moment)

    def gone(path, *arguments, **options):
        if path.name == "x" and is_seen:
            path.unlink(missing_ok=True)
        return left(path, *arguments, **options)

    def is_file(path):
        is_seen.append(path)
        return True

    is_seen = []
    monkeypatch.setattr(Path, "is_file", is_file)
    monkeypatch.setattr(Path, moment, gone)
    with pytest.raises(StoreIntegrityError, match="x: expected a file, found nothing$"):
        read_regular(tmp_path, "x")
