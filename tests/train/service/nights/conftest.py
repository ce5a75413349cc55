"""Nights on a database of their own."""

import pytest

from support.nightly import Office, write_description, write_store_versions


@pytest.fixture
def office(tmp_path):
    write_description(tmp_path / "roots/shop")
    write_store_versions(tmp_path / "cache", 1)
    made = Office(tmp_path, backbones={"text": "tiny"})
    yield made
    made.close()
