"""Titles beyond an encoding, and readers that go away, with the commands that print them."""

import json
import os
import subprocess

import pyarrow as pa
import pytest

from crossan.common.datasets import write_dataset
from crossan.train.cli import train
from support.commands import run
from support.started import PROGRAMS

TITLE = "title \U0001f4a5 [red] \x1b[2J \u202e"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A dataset whose titles no terminal should take as they are, and a run of popularity."""
    folder = tmp_path_factory.mktemp("place")
    items = [f"v{n}" for n in range(12)]
    rows = [(f"u{u}", items[(u + k) % 12], k) for u in range(8) for k in range(7)]
    nothing = pa.nulls(len(items), pa.string())
    write_dataset(
        folder / "d", name="d", source_format="table", licence="ours",
        interactions=pa.table(dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))),
        items=pa.table({"item_id": items, "title": [TITLE] * 12, "image": nothing, "video": nothing, "audio": nothing}),
    )  # fmt: skip
    arguments = ["--dataset", folder / "d", "--out", folder / "r", "--model", "popularity"]
    run(train, *arguments, "--device", "cpu")
    return folder


def recommended(place, redirection="", **environment):
    """Run ``crossan recommend`` in a shell, which reads what it prints as the redirection says."""
    program = f"{PROGRAMS / 'crossan'} recommend r --user u1 --top 3 --device cpu"
    return subprocess.run(
        ["bash", "-c", f"{program} {redirection}; exit ${{PIPESTATUS[0]}}"],
        cwd=place, env={**os.environ, **environment}, capture_output=True, check=False,
    )  # fmt: skip


def test_a_title_that_the_encoding_lacks_is_escaped_and_json_is_exact(place):
    table = recommended(place, PYTHONIOENCODING="gbk")
    assert table.returncode == 0, table.stderr
    rows = table.stdout.decode("gbk").splitlines()[1:]
    assert [row.split("  ")[-1].strip() for row in rows] == [
        r"title \U0001f4a5 [red] \x1b[2J \u202e"
    ] * 3
    exact = recommended(place, "--json", PYTHONIOENCODING="ascii")
    assert exact.returncode == 0, exact.stderr
    assert [item["title"] for item in json.loads(exact.stdout)["items"]] == [TITLE] * 3


@pytest.mark.parametrize("redirection", [">&-", "--json 2>&- | true"])
def test_nobody_who_reads_is_no_reason_to_fail(place, redirection):
    done = recommended(place, redirection)
    assert (done.returncode, done.stderr) == (0, b"")
