"""Folders that one session of tests writes once, whichever worker needs one first. A test changes copies only."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess

import pytest

from support.started import PROGRAMS


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Return a folder of all workers of this session."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has its own folder in that of the session
        session = session.parent
    (session / "shared").mkdir(exist_ok=True)
    return session / "shared"


@pytest.fixture(scope="session")
def once(shared):
    """Return a function that has a named folder written once for all workers, and returns it."""

    def build(name, write):
        folder, unfinished = shared / name, shared / f"{name}.unfinished"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                shutil.rmtree(unfinished, ignore_errors=True)  # of a worker that failed at it
                unfinished.mkdir()
                write(unfinished)
                unfinished.rename(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def tiny_backbones(once):
    """Return a folder of tiny backbones, one for each modality, as ``crossan backbones init-tiny`` writes them."""
    from crossan.extract.backbones import (
        write_tiny,
    )  # not before a test needs it: it takes a second

    return once("backbones", write_tiny)


@pytest.fixture(scope="session")
def toured(once):
    """Return a folder in which ``crossan demo --json`` was run: in ``demo`` its sample, backbones, stores and runs."""

    def tour(folder):
        done = subprocess.run(
            [PROGRAMS / "crossan", "demo", "--json"],
            cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        (folder / "stdout").write_text(done.stdout)
        (folder / "stderr").write_text(done.stderr)

    return once("toured", tour)


@pytest.fixture(scope="session")
def sampled(once, shared, request):
    """Return a folder with the built-in sample and its stores, that of a tour where one was begun."""
    from crossan.train.recipes.sample import prepare_sample

    if (shared / "toured.lock").exists():  # the end of it is nearer than a sample of our own
        return request.getfixturevalue("toured") / "demo"
    return once("sampled", prepare_sample)
