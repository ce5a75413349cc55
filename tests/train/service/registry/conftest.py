"""A registry on a small database, and runs to register."""

import pytest

from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.registry import Registry


@pytest.fixture
def folder(tmp_path):
    return ServiceFolder(tmp_path / "service")


@pytest.fixture
def database(folder):
    folder.path.mkdir()
    database = Database(folder.database)
    yield database
    database.close()


@pytest.fixture
def registry(database, folder):
    return Registry(database, folder)
