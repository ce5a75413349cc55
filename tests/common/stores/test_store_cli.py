"""``crossan cache``: output for people and machines, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from crossan.cache_schema.errors import StoreNotFoundError, UsageError
from crossan.common.stores import logical_digest, open_store
from crossan.common.stores.cli import app


def run(*arguments, **environment):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)


def last_json(result):
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture
def cache(store, tmp_path):
    place = tmp_path / "cache" / "sample" / "text" / "bert-000000000000"
    place.parent.mkdir(parents=True)
    store.rename(place)
    return tmp_path / "cache"


def test_ls_lists_stores_and_takes_the_cache_from_the_environment(cache):
    result = run("ls", "--json", CROSSAN_CACHE=str(cache))
    assert result.exit_code == 0
    (found,) = last_json(result)["stores"]
    assert (
        found["items"],
        found["ok"],
        found["absent"],
        found["quarantined"],
        found["version"],
    ) == (7, 5, 1, 1, 2)
    names, cells = run("ls", "--cache", cache).stdout.splitlines()
    assert names.split() == ["store", "version", "ok", "items", "layers", "dim", "dtype"]
    assert cells.split()[1:] == ["2", "5", "7", "0,2,4", "8", "float16"]
    assert last_json(run("ls", "--cache", cache, "--dataset", "other", "--json")) == {"stores": []}


def test_ls_shows_an_unreadable_store_beside_the_others(cache):
    (next(cache.glob("*/*/*")) / "versions/000002.json").write_bytes(b"")
    assert (
        "versions/000002.json: expected one JSON object, found an empty file"
        in run("ls", "--cache", cache).stdout
    )


def test_ls_needs_a_cache(tmp_path):
    with pytest.raises(UsageError, match="--cache: expected a folder of stores"):
        raise run("ls", CROSSAN_CACHE="").exception
    with pytest.raises(UsageError, match=r"no cache at .*nowhere: expected a folder of stores"):
        raise run("ls", "--cache", tmp_path / "nowhere").exception


def test_info_says_that_the_first_cls_state_is_the_same_for_every_item(
    store, begin_store, make_identity
):
    assert (
        "hidden state 0 at the CLS position is the same vector for every item"
        in run("info", store).stdout
    )
    pooled = begin_store(make_identity(capture={"layers": [0, 2], "pooling": "mean"}), "pooled")
    found = last_json(run("info", pooled, "--json"))
    assert found["version"] == 0
    assert found["notes"] == ["begun, but no version has been published yet"]


def test_digest_prints_the_logical_digest(store):
    expected = logical_digest(open_store(store))
    assert run("digest", store).stdout.strip() == expected
    assert last_json(run("digest", store, "--json"))["digest"] == expected


@pytest.mark.parametrize("command", ["verify", "fsck"])
def test_sound_store_passes(store, command):
    result = run(command, store, "--json")
    assert result.exit_code == 0
    assert last_json(result)["ok"] is True
    assert "ok; 7 items, 2 segments" in run(command, store).stdout


def test_damaged_store_exits_with_four_and_names_the_file(store):
    chunk = next(store.glob("segments/*/hidden_states/c/0/0/0"))
    data = bytearray(chunk.read_bytes())
    data[3] ^= 8
    chunk.write_bytes(data)
    assert run("verify", store).exit_code == 0
    result = run("fsck", store, "--json")
    assert result.exit_code == 4
    assert last_json(result)["problems"][0]["where"] == str(chunk)
    assert f"wrong-crc: {chunk}" in run("fsck", store).stdout


def test_no_store_is_a_usage_error(tmp_path):
    error = run("info", tmp_path).exception
    assert isinstance(error, StoreNotFoundError)
    assert error.exit_code == 2


def test_help_loads_nothing_heavy():
    script = (
        "import sys; import crossan.common.stores.cli; "
        "print([name for name in ('numpy', 'torch', 'zarr', 'pyarrow', 'numcodecs') if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True
        ).stdout.strip()
        == b"[]"
    )
