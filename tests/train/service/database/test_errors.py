"""A database that cannot be written or read."""

from __future__ import annotations

import resource
import sqlite3
import threading

import pytest

from crossan.train.service.database import Database, DatabaseUnusableError, DiskFullError
from crossan.train.service.database.errors import explained
from support.started import CEILING_S

LARGE = "x" * 200_000


def insert(text):
    return lambda connection: connection.execute(
        "INSERT INTO audit (at, actor, action, subject) VALUES (0, ?, 'a', 's')", (text,)
    )


def count(database):
    return database.read(
        lambda connection: connection.execute("SELECT COUNT(*) FROM audit").fetchone()[0]
    )


@pytest.fixture
def no_room():
    """Return a function that lets no file of this process grow past some bytes, None for any."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(byte_count):
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (soft if byte_count is None else byte_count, hard)
        )

    yield limit
    limit(None)


def test_without_room_nothing_is_written_and_with_room_all_is(tmp_path, no_room):
    database = Database(tmp_path / "service.sqlite3")
    database.write(insert("before"))
    no_room(100_000)
    for _ in range(3):
        with pytest.raises(
            DiskFullError, match="no space is left to write to the database"
        ) as caught:
            database.write(insert(LARGE))
        assert caught.value.remedy == f"Free some space on the file system of {tmp_path}"
    assert count(database) == 1
    no_room(None)
    database.write(insert(LARGE))
    assert count(database) == 2
    assert (
        database.read(lambda connection: connection.execute("PRAGMA integrity_check").fetchone()[0])
        == "ok"
    )
    database.close()


def test_without_room_all_that_wait_are_refused_and_none_hangs(tmp_path, no_room):
    database = Database(tmp_path / "service.sqlite3")
    no_room(100_000)
    refused, written = [], []

    def write(number):
        try:
            database.write(insert(LARGE))
        except DiskFullError:
            refused.append(number)
        else:
            written.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CEILING_S)
    assert sorted(refused) == list(range(20))
    no_room(None)
    assert count(database) == len(written) == 0
    database.close()


def test_a_folder_without_room_holds_no_new_database(tmp_path, no_room):
    no_room(10_000)
    with pytest.raises(DiskFullError, match="no space is left"):
        Database(tmp_path / "service.sqlite3")
    no_room(None)
    database = Database(tmp_path / "service.sqlite3")
    assert count(database) == 0
    database.close()


def test_a_database_that_is_damaged_while_it_is_used_names_the_restore(tmp_path):
    path = tmp_path / "service.sqlite3"
    database = Database(path)
    for _ in range(30):
        database.write(insert(LARGE[:9000]))
    database.close()
    database = Database(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(DatabaseUnusableError, match="found a damaged one") as caught:
        count(database)
    assert caught.value.remedy == f"crossan serve --data {tmp_path} --restore newest"
    database.close()


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 1000, b"SQLite format 3\0" + b"\0" * 5000]
)
def test_a_file_of_another_kind_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "service.sqlite3"
    path.write_bytes(content)
    with pytest.raises(DatabaseUnusableError, match="expected a sound SQLite database"):
        Database(path)
    assert path.read_bytes() == content


def test_a_folder_in_its_place_is_refused(tmp_path):
    (tmp_path / "service.sqlite3").mkdir()
    with pytest.raises(
        DatabaseUnusableError, match="the system refuses to write the database"
    ) as caught:
        Database(tmp_path / "service.sqlite3")
    assert caught.value.remedy == f"Make {tmp_path} writable for the service"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("SQLITE_FULL", DiskFullError, "no space is left"),
        ("SQLITE_IOERR_WRITE", DiskFullError, "no space is left"),
        ("SQLITE_IOERR_SHMSIZE", DiskFullError, "no space is left"),
        ("SQLITE_READONLY", DatabaseUnusableError, "the system refuses to write"),
        ("SQLITE_READONLY_DBMOVED", DatabaseUnusableError, "the system refuses to write"),
        ("SQLITE_IOERR_FSYNC", DatabaseUnusableError, "the system refuses to write"),
        ("SQLITE_CANTOPEN", DatabaseUnusableError, "the system refuses to write"),
        ("SQLITE_CORRUPT", DatabaseUnusableError, "found a damaged one"),
        ("SQLITE_NOTADB", DatabaseUnusableError, "found a damaged one"),
        ("SQLITE_BUSY", DatabaseUnusableError, "another program holds the database"),
    ],
)
def test_what_sqlite_answers_becomes_an_error_with_a_remedy(tmp_path, name, kind, message):
    error = sqlite3.OperationalError("of SQLite")
    error.sqlite_errorname = name
    reason = explained(error, tmp_path / "d")
    assert type(reason) is kind
    assert message in reason.message
    assert reason.remedy


def test_a_bug_of_ours_stays_one(tmp_path):
    error = sqlite3.OperationalError("no such table: x")
    error.sqlite_errorname = "SQLITE_ERROR"
    assert explained(error, tmp_path) is error


def test_another_program_that_holds_the_database_is_named(tmp_path, monkeypatch):
    database = Database(tmp_path / "d")
    database.write(lambda connection: connection.execute("PRAGMA busy_timeout = 50"))
    other = sqlite3.connect(tmp_path / "d", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnusableError, match="another program holds the database"):
        database.write(insert("late"))
    other.execute("ROLLBACK")
    other.close()
    database.write(insert("in time"))
    database.close()


def test_a_database_that_was_damaged_once_is_neither_read_nor_written_again(tmp_path):
    database = Database(tmp_path / "service.sqlite3")
    damage = sqlite3.DatabaseError("malformed")
    damage.sqlite_errorname = "SQLITE_CORRUPT"
    written = []

    def fail(connection):
        raise damage

    with pytest.raises(DatabaseUnusableError):
        database.read(fail)

    for use in (database.read, database.write):
        with pytest.raises(DatabaseUnusableError, match="found a damaged one"):
            use(written.append)
    assert written == []
    database.close()
