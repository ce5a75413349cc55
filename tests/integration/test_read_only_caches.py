"""A cache on a disk that is mounted read-only trains, evaluates, recommends and is looked at."""

import json
import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from crossan.common.stores.cli import app
from crossan.train.cli import evaluate, recommend
from support.commands import QUICK, run, train_in, train_quickly
from support.fabricated import write_small
from support.outcomes import outcome


@pytest.fixture(scope="module")
def writable(tmp_path_factory):
    folder = write_small(tmp_path_factory.mktemp("writable"))
    train_quickly(folder, epochs=1)
    return folder


@pytest.fixture
def read_only(writable, tmp_path):
    """A copy whose cache is really read-only, for root too."""
    for name in "dc":
        shutil.copytree(writable / name, tmp_path / name, ignore=shutil.ignore_patterns("pins"))
    cache = str(tmp_path / "c")
    mounted = [["mount", "--bind", cache, cache], ["mount", "-o", "remount,bind,ro", cache]]
    try:
        for command in mounted:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"{' '.join(command)}: not allowed here: {done.stderr.strip()}")
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", cache], capture_output=True, check=False)


def contents(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def test_runs_come_to_the_same_and_say_that_no_version_was_noted(writable, read_only):
    before = contents(read_only / "c")
    for out, more in (("r", ()), ("streamed", ("--residence", "streamed"))):
        trained = train_in(read_only, (*QUICK, "max_epochs=1"), *more, out=out)
        assert outcome(read_only / out) == outcome(writable / "r")
        for store in (read_only / "c").glob("*/*/*"):
            note = f"{store}: cannot be written, so it takes no note that version 1 is in use"
            assert note in trained.stderr
    for command, *more in ((evaluate,), (recommend, "--user", "u001")):
        shown = [
            run(command, folder / "r", *more, "--json").stdout.replace(str(folder), "")
            for folder in (read_only, writable)
        ]
        assert shown[0] == shown[1]
    assert contents(read_only / "c") == before


@pytest.mark.parametrize("command", ["info", "verify", "fsck", "digest", "diff", "gc"])
def test_looking_at_a_store_writes_nothing(read_only, command):
    (store,) = (read_only / "c").glob("*/image/*")
    more = {"diff": [store], "gc": ["--dry-run"]}.get(command, [])
    result = CliRunner().invoke(app, [command, *map(str, [store, *more])])
    assert result.exit_code == 0, result.output


def test_listing_and_taking_away_work_too(read_only):
    (store,) = (read_only / "c").glob("*/image/*")
    listed = CliRunner().invoke(app, ["ls", "--cache", str(read_only / "c"), "--json"])
    assert [one["ok"] for one in json.loads(listed.stdout)["stores"]] == [38, 40]
    for words in (
        ("export", "mmrec", store, "--out", read_only / "mmrec"),
        ("card", store, "--out", read_only / "card"),
        ("push", store, f"{read_only}/team/"),
        ("pull", store, "--to", read_only / "copy"),
    ):
        result = CliRunner().invoke(app, list(map(str, words)))
        assert result.exit_code == 0, (words, result.output, result.exception)
