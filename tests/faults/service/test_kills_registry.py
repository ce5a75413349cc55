"""kill -9 in the middle of a registration: afterwards there is the whole version, or none."""

import os
import signal

import pytest

from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.registry import Registry
from support.registered import a_row, a_run

FULL = os.environ.get("CROSSAN_FAULTS") == "full"
CALLS = ("fsync", "rename", "chmod", "mkdir", "replace")


def kill_at(number, work):
    """Do the work in a forked process that is killed before its n-th change of the disk.

    Return whether it was killed.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    left = [number]

    def counted(call):
        def count(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return count

    try:
        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        work()
    except BaseException:  # noqa: BLE001 - whatever it is, the parent must see it
        os._exit(1)
    os._exit(0)


@pytest.fixture
def place(tmp_path):
    """A data folder with a training that may be registered, and nobody who has it open."""
    folder = ServiceFolder(tmp_path / "service")
    folder.path.mkdir()
    database = Database(folder.database)
    row = a_row(database)
    a_run(folder.output(row.id))
    database.close()
    return folder, row


def opened(folder):
    database = Database(folder.database)
    return database, Registry(database, folder)


def test_a_registration_killed_at_any_moment_is_whole_or_nothing(place):
    folder, row = place

    def register():
        _, registry = opened(folder)
        registry.register(folder.output(row.id), None, row, "ann")

    number, kills = 1, 0
    while kill_at(number, register):
        kills += 1
        database, registry = opened(folder)
        versions = registry.versions()
        for model in versions:
            assert registry.verify(model.version).run_id == row.id
        names = {path.name for path in folder.models.iterdir()}
        # A folder that no row names was not renamed back; it is no version, and the next takes it.
        assert {str(model.version) for model in versions} <= names <= {"1"}
        database.close()
        number += 1 if FULL else 4
    assert kills >= (30 if FULL else 8)
    database, registry = opened(folder)
    model = registry.register(folder.output(row.id), None, row, "ann")
    assert registry.verify(model.version) == model
    assert [path.name for path in folder.models.iterdir()] == [str(model.version)]
    database.close()
