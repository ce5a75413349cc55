"""Content digests: right, remembered, and never remembered wrongly."""

import hashlib
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from crossan.common.contents import digests


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
    monkeypatch.setattr(digests, "_SMALL_BYTES", 0)
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    settle(path)
    first = digests.content_digest(path)
    monkeypatch.setattr(
        digests.hashlib,
        "file_digest",
        lambda *_: (_ for _ in ()).throw(AssertionError("read again")),
    )
    assert digests.content_digest(path) == first
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path.write_bytes(b"abd")
    settle(path)
    assert digests.content_digest(path) == hashlib.sha256(b"abd").hexdigest()


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    monkeypatch.setattr(digests, "_SMALL_BYTES", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert digests.content_digest(path) == hashlib.sha256(b"abc").hexdigest()


def test_a_user_without_a_home_has_no_memory(tmp_path, monkeypatch):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(digests.Path, "home", nobody)
    monkeypatch.setattr(digests, "_SMALL_BYTES", 0)
    (tmp_path / "x").write_bytes(b"abc")
    assert digests.content_digest(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_many_threads_and_odd_names_share_one_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_FRESH_S", -3600.0)
    monkeypatch.setattr(digests, "_SMALL_BYTES", 0)
    paths = [tmp_path / os.fsdecode(b"not utf-8 \xff %d" % k) for k in range(40)]
    for k, path in enumerate(paths):
        path.write_bytes(b"%d" % k)
        settle(path)
    expected = [hashlib.sha256(b"%d" % k).hexdigest() for k in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(digests.content_digest, paths)) == expected
        assert list(pool.map(digests.content_digest, paths)) == expected
    with closing(sqlite3.connect(tmp_path / "cache/crossan/digests.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM digests").fetchone() == (40,)


def test_a_small_file_is_simply_hashed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert digests.content_digest(path) == hashlib.sha256(b"abc").hexdigest()
    assert not (tmp_path / "cache").exists()


def test_many_files_are_hashed_at_once_and_remembered_however_small(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_FRESH_S", -3600.0)
    monkeypatch.setattr(digests, "_REMEMBERED_AT_ONCE", 3)
    paths = [tmp_path / f"x{k}" for k in range(10)]
    for k, path in enumerate(paths):
        path.write_bytes(b"%d" % k)
        settle(path)
    expected = [hashlib.sha256(b"%d" % k).hexdigest() for k in range(10)]
    assert digests.file_digests(paths, "test") == expected

    def refuse(*_):
        raise AssertionError("read again")

    monkeypatch.setattr(digests.hashlib, "file_digest", refuse)
    assert digests.file_digests(paths, "test") == expected
    # Another process may have put another picture under the same name.
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paths[4].write_bytes(b"!")
    expected[4] = hashlib.sha256(b"!").hexdigest()
    assert digests.file_digests(paths, "test") == expected


def test_what_is_no_file_has_no_digest(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    odd = [tmp_path, tmp_path / "pipe", tmp_path / "dangling", tmp_path / ("x" * 300)]
    assert digests.file_digests(odd, "test") == [None] * 4
    assert digests.file_digests([], "test") == []
