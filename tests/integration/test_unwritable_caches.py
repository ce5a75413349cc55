"""Caches that cannot be written: extraction ends well where nothing is left to do, else in one line."""

import errno
import json
import os

import pytest

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.extract.cli import extract
from support.commands import attempt, run
from support.extraction import places, write_items
from support.refusing import refusing


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_backbones):
    """A folder with a dataset, a cache that holds all of it, and what extracts it."""
    folder = tmp_path_factory.mktemp("job")
    write_items(folder / "d", [{"item_id": f"v{n}", "title": f"title {n}"} for n in range(9)])
    arguments = ["--modality", "text", "--json"]
    places_of = places(folder / "d", folder / "c", tiny_backbones / "text")
    run(extract, *arguments, *places_of)
    return folder, [*arguments, "--backbone", tiny_backbones / "text"]


def read_only(monkeypatch, folder):
    """Let the system say of a folder what it says of one on a read-only disk."""
    access = os.access

    def allowed(path, mode, **how):
        is_below = str(path).startswith(str(folder))
        return access(path, mode, **how) and not (is_below and mode & os.W_OK)

    monkeypatch.setattr(os, "access", allowed)
    return refusing(monkeypatch, folder, first=1, number=errno.EROFS)


def test_extraction_with_nothing_to_do_ends_well_and_writes_nothing(job, monkeypatch):
    folder, arguments = job
    with read_only(monkeypatch, folder / "c") as refusals:
        result = run(extract, *arguments, "--dataset", folder / "d", "--cache", folder / "c")
    report = json.loads(result.stdout.splitlines()[-1])["stores"][0]
    assert (report["ok"], report["forwarded"], report["version"]) == (9, 0, 1)
    assert "text: nothing to do, so nothing is written" in result.stderr
    assert refusals.count == 0


@pytest.mark.parametrize("more", [[], ["--repair"]])
def test_extraction_with_something_to_do_is_6_and_writes_nothing(job, tmp_path, monkeypatch, more):
    folder, arguments = job
    items = [{"item_id": f"v{n}", "title": f"title {n}"} for n in range(9 if more else 10)]
    write_items(tmp_path / "d", items)
    with read_only(monkeypatch, folder / "c") as refusals:
        result = attempt(
            extract, *arguments, *more, "--dataset", tmp_path / "d", "--cache", folder / "c"
        )
    assert isinstance(result.exception, ResourceError)
    assert str(folder / "c") in result.exception.message
    assert "cannot be written to" in result.exception.message
    assert refusals.count == 0


def test_a_cache_that_is_a_link_to_nothing_is_2_and_names_where_it_leads(job, tmp_path):
    folder, arguments = job
    (tmp_path / "link").symlink_to("nowhere")
    result = attempt(extract, *arguments, "--dataset", folder / "d", "--cache", tmp_path / "link")
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 2
    expected = f"{tmp_path}/link leads to {tmp_path}/nowhere, which is not there"
    assert expected in result.exception.message
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("below", ["", "a/b"])
def test_a_cache_that_is_a_file_is_6(job, tmp_path, below):
    folder, arguments = job
    (tmp_path / "file").write_text("of the user's")
    cache = tmp_path / "file" / below
    result = attempt(extract, *arguments, "--dataset", folder / "d", "--cache", cache)
    assert isinstance(result.exception, ResourceError)
    assert f"{tmp_path}/file is a file, expected a folder" in result.exception.message
    assert (tmp_path / "file").read_text() == "of the user's"
