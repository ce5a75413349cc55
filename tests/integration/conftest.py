"""A small dataset with fabricated stores, made without a backbone."""

import pytest
import torch

from support.fabricated import make_sequences, write_rows, write_small, write_store


@pytest.fixture
def make_dataset():
    return lambda folder, **options: write_rows(
        folder, options.pop("rows", None) or make_sequences(), **options
    )


@pytest.fixture
def make_store():
    return write_store


@pytest.fixture
def sequences():
    return make_sequences()


@pytest.fixture
def small(tmp_path):
    """A dataset folder and a cache with text and image stores."""
    return write_small(tmp_path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The same for all tests of a file, which write their runs beside it."""
    return write_small(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def one_thread():
    """Train in this process as trials of one thread do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("CROSSAN_DATASET", "CROSSAN_CACHE"):
        monkeypatch.delenv(name, raising=False)
