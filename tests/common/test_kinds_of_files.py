"""An error says what lies at a path, and of a link where it leads."""

from __future__ import annotations

import os
import socket

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
