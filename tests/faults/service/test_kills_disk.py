"""A full disk ends no run and marks none; a disk that cannot be written is named.

``CROSSAN_FAULTS=full`` fills it 20 times, otherwise once.
"""

from __future__ import annotations

import os

import pytest

from crossan.train.service.database import Database, DatabaseUnusableError
from support.killed_servers import Server, witnessed
from support.small_disk import small_disk
from support.started import CEILING_S, wait_until

__all__ = ["small_disk"]

TIMES = 20 if os.environ.get("CROSSAN_FAULTS") == "full" else 1


@pytest.mark.timeout(3600)
def test_a_full_disk_ends_no_run_and_marks_none(small_disk, tmp_path):
    server = Server(small_disk.folder).start()
    for number in range(TIMES):
        signs = tmp_path / str(number)
        signs.mkdir()
        waits = witnessed(
            f"open('{signs}/up-' + run, 'w').close()\n"
            f"while not os.path.exists('{signs}/go'): time.sleep(0.05)\n"
            f"open('{signs}/over-' + run, 'w').close()\n"
        )
        runs = [server.ask(program=waits) for _ in range(2)]
        wait_until(lambda signs=signs: len(list(signs.glob("up-*"))) == 2, "both run")
        queued = server.ask(program=witnessed(""), limits={"cpus": 4})
        small_disk.fill()
        refusals = [server.ask(program="pass", note="x" * 5000) for _ in range(3)]
        (signs / "go").touch()
        wait_until(lambda signs=signs: len(list(signs.glob("over-*"))) == 2, "both are over")
        refusals += [server.ask(program="pass", note="x" * 5000), server.ask(cancel=queued)]
        # SQLite may have a little room left in its log, but not for all of these.
        assert {"error": "DiskFullError"} in refusals
        assert server.poll() is None
        states = {row["id"]: row["state"] for row in server.rows("SELECT id, state FROM runs")}
        assert all(states[run] in {"running", "succeeded"} for run in runs)
        small_disk.free()
        server.wait_until_idle(seconds=CEILING_S)
        rows = {row["id"]: row for row in server.rows("SELECT * FROM runs")}
        assert {(rows[run]["state"], rows[run]["attempt"]) for run in runs} == {("succeeded", 1)}
        assert rows[queued]["state"] in {"succeeded", "cancelled"}
        assert set(server.states()) <= {"succeeded", "cancelled"}
    server.stop()
    assert not server.ledger()["clash"]


def test_a_disk_that_cannot_be_written_is_named(small_disk):
    database = Database(small_disk.folder / "service.sqlite3")
    database.close()
    small_disk.remount("ro")
    with pytest.raises(
        DatabaseUnusableError, match="the system refuses to write the database"
    ) as caught:
        Database(small_disk.folder / "service.sqlite3")
    assert caught.value.remedy == f"Make {small_disk.folder} writable for the service"
    small_disk.remount("rw")
    Database(small_disk.folder / "service.sqlite3").close()
