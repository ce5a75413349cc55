"""Reading and writing the database of the service."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading

import pytest

from crossan.cache_schema.errors import IncompatibleError
from crossan.train.service.database import Database, DatabaseUnusableError
from support.started import CEILING_S


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path / "service.sqlite3")
    yield opened
    opened.close()


def insert(actor):
    return lambda connection: (
        connection.execute(
            "INSERT INTO audit (at, actor, action, subject) VALUES (0, ?, 'a', 's')", (actor,)
        ).lastrowid
    )


def actors(database):
    return [
        row["actor"]
        for row in database.read(
            lambda connection: connection.execute("SELECT actor FROM audit ORDER BY id").fetchall()
        )
    ]


def blocked_writer(database):
    """Have the writing thread wait until the event is set; return the event and the waiting thread."""
    is_inside, may_go = threading.Event(), threading.Event()

    def wait(_connection):
        is_inside.set()
        assert may_go.wait(CEILING_S)

    thread = threading.Thread(target=database.write, args=(wait,))
    thread.start()
    assert is_inside.wait(CEILING_S)
    return may_go, thread


def test_what_was_written_is_read_by_the_next_database(tmp_path):
    database = Database(tmp_path / "d")
    database.write(insert("a"))
    database.close()
    database = Database(tmp_path / "d")
    assert actors(database) == ["a"]
    database.close()


def test_what_waits_is_written_by_one_transaction(database, monkeypatch):
    statements = []
    database.write(lambda connection: connection.set_trace_callback(statements.append))
    may_go, blocked = blocked_writer(database)
    threads = [threading.Thread(target=database.write, args=(insert(str(n)),)) for n in range(50)]
    for thread in threads:
        thread.start()
    while database._tasks.qsize() < 50:
        pass
    may_go.set()
    for thread in [blocked, *threads]:
        thread.join()
    database.write(lambda connection: connection.set_trace_callback(None))
    assert sorted(actors(database), key=int) == [str(n) for n in range(50)]
    # That of the first trace, that of the one that blocked, and one for all fifty; the last one
    # takes the trace away before it commits.
    assert statements.count("COMMIT") == 3


def test_an_error_takes_back_its_own_work_alone(database):
    may_go, blocked = blocked_writer(database)
    errors = []

    def fail(connection):
        insert("bad")(connection)
        raise ValueError("of the work")

    def write(work):
        try:
            database.write(work)
        except (ValueError, sqlite3.IntegrityError) as error:
            errors.append(str(error))

    works = [insert("first"), fail, insert("last"), lambda connection: insert(None)(connection)]
    threads = []
    for count, work in enumerate(works, start=1):
        threads.append(threading.Thread(target=write, args=(work,)))
        threads[-1].start()
        while database._tasks.qsize() < count:
            pass
    may_go.set()
    for thread in [blocked, *threads]:
        thread.join()
    assert actors(database) == ["first", "last"]
    assert sorted(errors) == ["NOT NULL constraint failed: audit.actor", "of the work"]


def test_a_reader_sees_one_state_while_others_write(database):
    database.write(insert("before"))

    def read(connection):
        first = connection.execute("SELECT COUNT(*) FROM audit").fetchone()[0]
        database.write(insert("meanwhile"))
        return first, connection.execute("SELECT COUNT(*) FROM audit").fetchone()[0]

    assert database.read(read) == (1, 1)
    assert actors(database) == ["before", "meanwhile"]


def test_a_reader_cannot_write(database):
    with pytest.raises(DatabaseUnusableError, match="refuses to write the database"):
        database.read(insert("a"))
    assert actors(database) == []


def test_closing_writes_what_waits_and_refuses_what_comes_later(tmp_path):
    database = Database(tmp_path / "d")
    may_go, blocked = blocked_writer(database)
    waiting = threading.Thread(target=database.write, args=(insert("waits"),))
    waiting.start()
    while database._tasks.qsize() < 1:
        pass
    closing = threading.Thread(target=database.close)
    closing.start()
    while not database._is_closed:
        pass
    with pytest.raises(DatabaseUnusableError, match="the service is ending"):
        database.write(insert("late"))
    may_go.set()
    for thread in (blocked, waiting, closing):
        thread.join()
    with pytest.raises(DatabaseUnusableError, match="the service is ending"):
        database.read(lambda connection: connection.execute("SELECT 1"))
    database.close()
    again = Database(tmp_path / "d")
    assert actors(again) == ["waits"]
    again.close()


def test_many_who_write_while_it_closes_are_answered_or_refused(tmp_path):
    database = Database(tmp_path / "d")
    written, refused = [], []
    has_begun = threading.Event()

    def write(name):
        for number in itertools.count():
            try:
                database.write(insert(f"{name}.{number}"))
            except DatabaseUnusableError:
                refused.append(name)
                return
            written.append(f"{name}.{number}")
            has_begun.set()

    threads = [threading.Thread(target=write, args=(name,), daemon=True) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    assert has_begun.wait(CEILING_S)
    database.close()
    for thread in threads:
        thread.join(CEILING_S)
        assert not thread.is_alive()
    again = Database(tmp_path / "d")
    assert sorted(actors(again)) == sorted(written)
    assert sorted(refused) == list("abcdefgh")
    again.close()


def test_a_copy_holds_all_that_was_written_when_it_began(database, tmp_path):
    is_over = threading.Event()

    def write():
        while not is_over.is_set():
            database.write(insert("busy"))

    database.write(insert("first"))
    thread = threading.Thread(target=write)
    thread.start()
    database.back_up(tmp_path / "copy")
    is_over.set()
    thread.join()
    copy = Database(tmp_path / "copy")
    assert actors(copy)[0] == "first"
    assert len(actors(copy)) <= len(actors(database))
    copy.close()


def test_a_newer_version_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "d"
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(
        IncompatibleError, match="expected a database of version 1 or less, found 99"
    ):
        Database(path)
    assert path.read_bytes() == before


def test_the_audit_log_and_versions_of_models_do_not_change(database):
    database.write(insert("a"))
    for statement in ("UPDATE audit SET actor = 'b'", "DELETE FROM audit"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            database.write(lambda connection, text=statement: connection.execute(text))
    assert actors(database) == ["a"]


def test_a_loop_goes_on_while_its_tasks_wait_for_the_disk(database):
    def wrong(connection):
        insert("w")(connection)
        raise ValueError("this one alone")

    async def write_all():
        may_go, thread = blocked_writer(database)
        tasks = [asyncio.create_task(database.write_async(insert(str(n)))) for n in range(3)]
        failing = asyncio.create_task(database.write_async(wrong))
        left = asyncio.create_task(database.write_async(insert("left")))
        await asyncio.sleep(0)
        left.cancel()
        may_go.set()
        numbers = await asyncio.gather(*tasks)
        with pytest.raises(ValueError, match="alone"):
            await failing
        with pytest.raises(asyncio.CancelledError):
            await left
        thread.join()
        return numbers

    assert asyncio.run(write_all()) == [1, 2, 3]
    assert actors(database) == ["0", "1", "2", "left"]  # what was begun is written all the same


def test_a_task_is_told_of_a_closed_database(tmp_path):
    database = Database(tmp_path / "d")
    database.close()
    with pytest.raises(DatabaseUnusableError, match="closed"):
        asyncio.run(database.write_async(insert("a")))
