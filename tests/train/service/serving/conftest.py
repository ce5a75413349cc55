"""A registry with two versions, and what serves them."""

import pytest

from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.registry import Registry
from crossan.train.service.serving import Serving
from support.registered import registered
from support.started import CEILING_S
from support.tiny_recommender import TINY


@pytest.fixture
def folder(tmp_path):
    # As deep as a data folder may lie: a path of a Unix socket has room for 107 bytes.
    folder = ServiceFolder(tmp_path / ("long" * 30) / "service")
    folder.path.mkdir(parents=True)
    return folder


@pytest.fixture
def registry(folder, tmp_path):
    database = Database(folder.database)
    registry = Registry(database, folder)
    registered(registry, database, tmp_path, 3)
    yield registry
    database.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Have requests wait for as long as a busy machine needs to start a process."""
    name = "crossan.train.service.serving.serving._PATIENCE_SECONDS"
    monkeypatch.setattr(name, CEILING_S)


@pytest.fixture
def serving(registry, folder):
    serving = Serving(registry, folder, program=TINY)
    yield serving
    serving.stop()
