"""A folder as the examples of crossan.api read it: a dataset, a cache and a run."""

import pytest

from support.commands import train_quickly
from support.fabricated import write_small


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Return a folder with ``data``, ``cache`` and ``runs/first``, which no test changes."""
    folder = tmp_path_factory.mktemp("world")
    write_small(folder)
    (folder / "data").symlink_to("d")
    (folder / "cache").symlink_to("c")
    (folder / "runs").mkdir()
    train_quickly(folder, out="runs/first", epochs=4)
    train_quickly(folder, "--model", "popularity", out="runs/popularity")
    return folder
