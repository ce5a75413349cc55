"""Content digests: right, remembered, and never remembered wrongly."""

import hashlib
import os
import time

from crossan.extract.media import digests


def settle(path):
    """Make a file look old enough to be remembered."""
    old = time.time() - 3600
    os.utime(path, (old, old))


def test_digest_is_the_sha256_of_the_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert digests.content_digest(path) == hashlib.sha256(b"abc").hexdigest()
    assert digests.text_digest("é") == hashlib.sha256("é".encode()).hexdigest()


def test_a_settled_file_is_read_once_and_a_changed_one_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_FRESH_S", -3600.0)
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    settle(path)
    first = digests.content_digest(path)
    monkeypatch.setattr(digests.hashlib, "file_digest", lambda *_: (_ for _ in ()).throw(AssertionError("read again")))
    assert digests.content_digest(path) == first
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path.write_bytes(b"abd")
    settle(path)
    assert digests.content_digest(path) == hashlib.sha256(b"abd").hexdigest()


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert digests.content_digest(path) == hashlib.sha256(b"abc").hexdigest()
