"""A disk that is full and a database that is damaged, while runs go on."""

from __future__ import annotations

import os
import resource
import subprocess

import pytest

from crossan.train.service.web.tokens import make_tokens
from support.service import SPEC, ServerProcess, small_service
from support.started import PROGRAMS, finish, start, wait_until


def submitted(client, label):
    answer = client.post("/v1/runs", json={**SPEC, "label": label})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def state_of(client, run_id):
    return client.get(f"/v1/runs/{run_id}").json()["state"]


def release(server, run):
    """Let a run end that is held."""
    (server.data / "runs" / str(run) / "go").touch()


def number_of(backup):
    return int(backup.name.partition("-")[0])


def newest_of(backups):
    """Return the number of the newest backup, 0 where there is none."""
    return max(map(number_of, backups.glob("*.sqlite3")), default=0)


def test_a_full_disk_is_said_and_what_runs_goes_on(tmp_path):
    server = ServerProcess(tmp_path)
    with server.client("submit") as client:
        run = submitted(client, "held")
        wait_until(lambda: state_of(client, run) == "running", "the run goes")
        wal = server.data / "service.sqlite3-wal"
        # No file of the server grows beyond what its database's log has.
        size = max(wal.stat().st_size, server.log.stat().st_size + 65536)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        def is_full():
            return client.post("/v1/runs", json=SPEC).status_code == 507

        wait_until(is_full, "the disk is full")
        refused = client.post("/v1/runs", json=SPEC)
        assert refused.status_code == 507
        assert refused.json()["error"]["remedy"].startswith("Free some space")
        assert client.get("/readyz").status_code == 507
        assert client.get("/healthz").status_code == 200
        before = client.get("/v1/runs?limit=500").json()["runs"]
        release(server, run)
        outcome = server.data / "runs" / str(run) / "attempt-1" / "outcome.json"
        wait_until(outcome.exists, "the run ends all the same")

        resource.prlimit(
            server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )

        wait_until(lambda: state_of(client, run) == "succeeded", "its end is recorded")
        after = client.get("/v1/runs?limit=500").json()["runs"]
        assert [one["id"] for one in after] == [one["id"] for one in before]
        assert client.get("/readyz").status_code == 200
        submitted(client, "")
    assert server.stop() == 0


def test_a_damaged_database_is_said_and_a_backup_brings_it_back(tmp_path):
    server = ServerProcess(tmp_path, backup_minutes=0.01)
    with server.client("submit") as client:
        first = submitted(client, "say first")
        wait_until(lambda: state_of(client, first) == "succeeded", "the first run ends")
        backups = server.data / "backups"
        earlier = newest_of(backups)
        # The next one may have begun before the run ended.
        wait_until(lambda: newest_of(backups) >= earlier + 2, "a backup is made")
        newest = newest_of(backups)
        run = submitted(client, "held")
        wait_until(lambda: state_of(client, run) == "running", "the run goes")
        damage(server.data / "service.sqlite3")

        def answers():
            return [
                client.get("/v1/runs"),
                client.post("/v1/runs", json=SPEC),
                client.get("/readyz"),
            ]

        wait_until(
            lambda: {one.status_code for one in answers()} == {503}, "the damage is seen", pause=0.1
        )
        for answer in answers():
            assert answer.status_code == 503
            remedy = answer.json()["error"]["remedy"]
            assert remedy == f"crossan serve --data {server.data} --restore newest"
        assert client.get("/healthz").status_code == 200
    assert server.stop() == 0
    for backup in backups.glob("*.sqlite3"):
        if number_of(backup) > newest:
            backup.unlink()  # made of what was damaged by then

    restored = ServerProcess(tmp_path, restore_from="newest")
    with restored.client("submit") as client:
        assert state_of(client, first) == "succeeded"
        release(restored, run)
        wait_until(lambda: state_of(client, run) == "succeeded", "the run that went on is known")
        assert client.get(f"/v1/runs/{run}").json()["attempt"] == 1
        assert submitted(client, "") > run
    assert restored.stop() == 0


def damage(database):
    """Overwrite all of a database but its head, and its log."""
    for path in (database, database.with_name(f"{database.name}-wal")):
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * max(size - 4096, 0))


def test_a_database_that_cannot_be_written_is_said_at_the_start(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("a read-only mount takes root")
    service = small_service(tmp_path)
    make_tokens(service.folder.tokens)
    service.stop()
    data = tmp_path / "service"
    try:
        subprocess.run(["mount", "--bind", data, data], check=True)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"cannot mount here: {error}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", data], check=True)
        refused = start(
            *(PROGRAMS / "crossan", "serve", "--data", data, "--port", "0"),
            *("--root", tmp_path / "roots", "--cache", tmp_path / "cache"),
        )
        _, said = finish(refused, exit_code=6)
    finally:
        subprocess.run(["umount", data], check=True)
    assert "Read-only file system" in said or "refuses" in said
    assert "Traceback" not in said
