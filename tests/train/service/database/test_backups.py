"""Copies of the database, and what is known again once one takes its place."""

from __future__ import annotations

import json
import sqlite3
import threading

import pytest

from crossan.cache_schema.errors import DataError, ResourceError, UsageError
from crossan.train.service.database import Database, DatabaseUnusableError
from crossan.train.service.database.backups import Backups, back_up, explain, list_backups, restore
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.queue import State
from crossan.train.service.queue.attempts import list_attempts
from support.queued import Queue, TinySteps, add, add_night
from support.started import CEILING_S, wait_until


@pytest.fixture
def folder(tmp_path):
    return ServiceFolder(tmp_path)


@pytest.fixture
def database(folder):
    opened = Database(folder.database)
    yield opened
    opened.close()


def note(actor):
    return lambda connection: connection.execute(
        "INSERT INTO audit (at, actor, action, subject) VALUES (0, ?, 'a', 's')", (actor,)
    )


def actors(path):
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT actor FROM audit ORDER BY id").fetchall()
    connection.close()
    return [row[0] for row in rows]


def damage(path):
    """Overwrite the second half of a file."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size - size // 2))


def test_copies_are_numbered_whole_and_the_oldest_go(database, folder):
    for number in range(5):
        database.write(note(str(number)))
        # The clock is set back between them, and still the last is the newest.
        back_up(database, folder, kept=3, now=1_000_000.0 - 10 * number)
    backups = list_backups(folder)
    assert [path.name[:6] for path in backups] == ["000003", "000004", "000005"]
    assert backups[-1].name == "000005-19700112T134600Z.sqlite3"
    assert actors(backups[-1]) == ["0", "1", "2", "3", "4"]
    assert sorted(folder.backups.iterdir()) == backups


def test_a_copy_that_cannot_be_written_leaves_nothing(database, folder, monkeypatch):
    def refuse(target):
        target.write_bytes(b"half")
        raise ResourceError("no space is left")

    monkeypatch.setattr(database, "back_up", refuse)
    with pytest.raises(ResourceError, match="no space"):
        back_up(database, folder, kept=3, now=0.0)
    assert list(folder.backups.iterdir()) == []


def test_copies_are_made_from_time_to_time_until_it_is_stopped(database, folder):
    backups = Backups(database, folder, minutes=0.001, kept=2)
    backups.start()
    wait_until(lambda: list_backups(folder) and list_backups(folder)[-1].name > "000003", "three")
    backups.stop()
    assert len(list_backups(folder)) == 2


def test_a_damaged_database_is_kept_and_its_newest_sound_backup_takes_its_place(folder):
    database = Database(folder.database)
    for name in ("first", "second", "third"):
        database.write(note(name))
        back_up(database, folder, kept=9, now=0.0)
    database.write(note("lost"))
    database.close()
    damage(folder.database)
    damaged = folder.database.read_bytes()
    damage(list_backups(folder)[-1])
    with pytest.raises(DatabaseUnusableError) as caught:
        Database(folder.database)
    assert caught.value.remedy == f"crossan serve --data {folder.path} --restore newest"
    restored = restore(folder, "newest")
    assert restored.backup == list_backups(folder)[1]
    assert restored.unsound == (list_backups(folder)[2],)
    assert restored.kept_as == folder.path / "service.sqlite3.before-1"
    assert restored.kept_as.read_bytes() == damaged
    assert actors(folder.database) == ["first", "second"]
    again = restore(folder, list_backups(folder)[0].name)
    assert again.kept_as == folder.path / "service.sqlite3.before-2"
    assert actors(folder.database) == ["first"]


def test_the_log_of_the_database_before_does_not_get_into_the_backup(folder):
    database = Database(folder.database)
    database.write(note("first"))
    back_up(database, folder, kept=9, now=0.0)
    database.write(note("second"))
    # A killed server leaves the log behind.
    log = folder.database.with_name("service.sqlite3-wal").read_bytes()
    main = folder.database.read_bytes()
    database.close()
    folder.database.write_bytes(main)
    folder.database.with_name("service.sqlite3-wal").write_bytes(log)
    restored = restore(folder, "newest")
    assert actors(folder.database) == ["first"]
    assert actors(restored.kept_as) == ["first", "second"]


@pytest.mark.parametrize(
    "which", ["newest", "000009-19700101T000000Z.sqlite3", "../x", "/etc/passwd"]
)
def test_a_backup_that_does_not_exist_is_named(folder, which):
    Database(folder.database).close()
    with pytest.raises(
        UsageError, match="expected the name of a file in .*, found no backup at all"
    ):
        restore(folder, which)
    assert list(folder.path.iterdir()) == [folder.database]


def test_a_damaged_backup_is_refused(folder, database):
    path = back_up(database, folder, kept=9, now=0.0)
    damage(path)
    for which in ("newest", path.name):
        with pytest.raises(DataError, match="expected a sound backup in .*, found 1 damaged"):
            restore(folder, which)


def test_runs_that_are_newer_than_the_backup_are_found_again(tmp_path):
    begun, may_end = threading.Event(), threading.Event()

    def promote(run):
        begun.set()
        assert may_end.wait(CEILING_S)
        return {"promoted": run.id}

    queue = Queue(tmp_path / "service", cpus=3, steps=TinySteps(promote=promote)).start()
    waits = "import os, time\nwhile not os.path.exists('../go'): time.sleep(0.05)\nprint('end')"
    before = queue.submit(waits)
    queue.wait(before, State.RUNNING)
    old = queue.submit("print('old')", limits={"cpus": 3})
    back_up(queue.database, queue.folder, kept=9, now=0.0)
    ended = queue.wait(queue.submit("print('new')")).id
    failed = queue.wait(queue.submit("import sys; sys.exit(70)")).id
    night = queue.database.write(add_night)
    alive = queue.submit(waits, night=night)
    queue.wait(alive, State.RUNNING)
    waiting = queue.submit("print('waited')", needs=alive, night=night)
    large = queue.submit("print('large')", limits={"cpus": 3})
    promoted = queue.submit(server="promote")
    assert begun.wait(CEILING_S)
    cancelled = queue.submit("print('never')", limits={"cpus": 3})
    queue.scheduler.cancel(cancelled, "ann")
    path = queue.folder.run(cancelled) / "run.json"
    wait_until(lambda: path.exists() and "cancelled by" in path.read_text(), "the end on disk")
    (queue.folder.run(99)).mkdir()  # a folder that tells nothing
    (queue.folder.models / "7").mkdir(parents=True)
    may_end.set()
    queue.scheduler._is_stopping.set()  # as if the server had been killed
    queue.scheduler._thread.join()
    damage(queue.folder.database)
    (queue.folder.run(before) / "go").touch()
    wait_until((queue.attempt(before) / "outcome.json").exists, "its end")

    restored = restore(queue.folder, "newest")
    rebuilt = restored.rebuilt
    assert rebuilt.added == (ended, failed, alive, waiting, large, promoted, cancelled)
    assert rebuilt.advanced == ()
    assert (rebuilt.unreadable, rebuilt.models) == ((99,), (7,))
    assert rebuilt.missing == tuple(range(cancelled + 1, 99))
    lines = explain(restored)
    assert lines[0] == f"{queue.folder.database}: now as in the backup {restored.backup.name}"
    assert "7 runs were found again from their folders: 3 to 9" in lines
    assert "1 folder of a run tells nothing: 99" in lines
    queue.open()
    queue.start()
    assert queue.run(ended).result == {"attempt": 1}
    assert (queue.run(failed).state, queue.run(failed).attempt) == (State.FAILED, 3)
    attempts = queue.database.read(lambda connection: list_attempts(connection, failed))
    assert [attempt.outcome.exit_code for attempt in attempts] == [70] * 3
    assert all(attempt.started < attempt.ended for attempt in attempts)
    assert queue.run(cancelled).reason == "cancelled by ann"
    assert queue.run(alive).state is State.RUNNING
    assert queue.run(alive).night_id == night
    (queue.folder.run(alive) / "go").touch()
    for run_id in (before, old, alive, waiting, large, promoted):
        run = queue.wait(run_id)
        assert (run.state, run.attempt) == (State.SUCCEEDED, 1)
    assert (queue.attempt(alive) / "output.log").read_text() == "end\n"
    assert queue.submit() == 100
    queue.close()


def test_a_run_whose_need_nobody_knows_fails(tmp_path):
    queue = Queue(tmp_path / "service")
    back_up(queue.database, queue.folder, kept=9, now=0.0)
    queue.start()
    first = queue.submit("import time; time.sleep(1000)")
    second = queue.submit(needs=first)
    wait_until((queue.folder.run(second) / "run.json").exists, "its file")
    queue.cancel_all()
    queue.close()
    record = queue.folder.run(second) / "run.json"
    row = json.loads(record.read_text())
    row["run"] |= {"state": "waiting", "ended": None, "reason": ""}
    record.write_text(json.dumps(row))
    (queue.folder.run(first) / "run.json").write_text("{")
    rebuilt = restore(queue.folder, "newest").rebuilt
    assert (rebuilt.added, rebuilt.unreadable) == ((second,), (first,))
    queue.open()
    run = queue.run(second)
    assert (run.state, run.needs) == (State.FAILED, None)
    assert run.reason == f"needs run {first}, which the restored database does not know"
    queue.database.write(lambda connection: add(connection))
    assert queue.run(3).state is State.QUEUED
    queue.close()


def test_what_the_backup_knows_better_than_the_folder_stays(tmp_path):
    """A run that began and was cancelled before the backup is cancelled after it, too."""
    queue = Queue(tmp_path / "service").start()
    run_id = queue.submit("import time; time.sleep(1000)")
    queue.wait(run_id, State.RUNNING)
    queue.scheduler._is_stopping.set()
    queue.scheduler._thread.join()
    queue.scheduler.cancel(run_id, "ann")
    back_up(queue.database, queue.folder, kept=9, now=0.0)
    rebuilt = restore(queue.folder, "newest").rebuilt
    assert (rebuilt.added, rebuilt.advanced) == ((), ())
    queue.open()
    queue.start()
    run = queue.wait(run_id)
    assert (run.state, run.reason) == (State.CANCELLED, "cancelled by ann")
    queue.close()
