"""Runs with made-up figures."""

import pytest

from support.reported import undrawn_figures, write_run, write_sweep


@pytest.fixture
def make_run(tmp_path):
    return lambda name, *arguments, **options: write_run(tmp_path / name, *arguments, **options)


@pytest.fixture
def make_sweep(tmp_path):
    return lambda name, *arguments: write_sweep(tmp_path / name, *arguments)


@pytest.fixture
def undrawn():
    with undrawn_figures():
        yield
