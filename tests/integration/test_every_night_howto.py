"""docs/howto/every-night.md works as written: a log grows, and only what is new is computed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crossan.common.datasets import open_dataset
from crossan.common.stores import open_store
from crossan.common.umbrella import build_app

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "every-night.md"
TO_WRITE_BACKBONES = (
    "crossan backbones init-tiny backbones\n"  # the walk through a shared store runs it
)


def take(block):
    """Run a block of the page: what comes before its commands in a shell, those in this process."""
    before, start, commands = block.partition("crossan")
    subprocess.run(["bash", "-euo", "pipefail", "-c", before], check=True)
    return "".join(invoke(shlex.split(line)) for line in (start + commands).splitlines())


def invoke(words):
    """Run one of our commands; return what it prints."""
    name = words[0].removeprefix("crossan").removeprefix("-")
    result = CliRunner().invoke(build_app(), [*([name] if name else []), *words[1:]])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.slow
def test_the_page_works_as_written(tmp_path, monkeypatch, tiny_backbones):
    for name in [name for name in os.environ if name.startswith("CROSSAN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    first, backbones, train, night, serve, anew = re.findall(
        r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert backbones == TO_WRITE_BACKBONES
    (tmp_path / "backbones").symlink_to(tiny_backbones)
    said = take(first)
    assert "user_id=user, item_id=item, timestamp=time" in said
    assert "unit s: " in said
    take(train)
    (store,) = (tmp_path / "cache/shop/text").iterdir()
    assert (open_dataset(tmp_path / "dataset").counts["items"], forwarded(store)) == (50, 50)

    said = take(night)
    # 80 users for six hours of which two were there, and five users for six hours.
    assert re.search("^added +350 interactions, 5 users, 5 items$", said, re.MULTILINE)
    assert re.search("^already there +160 interactions, 2 items$", said, re.MULTILINE)
    assert "items with another title than before: 1 (v007: " in said
    assert (len(open_store(store).item_ids), forwarded(store)) == (55, 5 + 1)
    results = [json.loads((tmp_path / f"runs/{day}/result.json").read_text()) for day in DAYS]
    assert [result["items"] for result in results] == [50, 55]
    assert results[1]["init"]["run"].endswith("runs/monday")
    assert len(re.findall(r"^ *[1-5] +\S+ +v0\d\d  \S", said, re.MULTILINE)) == 5

    said = take(serve)
    judged = json.loads((tmp_path / "judged/monday/result.json").read_text())
    assert (judged["users"], judged["items"]) == (results[1]["users"], results[1]["items"])
    assert re.search(r"^tuesday +NDCG@10 +[+-]", said, re.MULTILINE)
    refit = json.loads((tmp_path / "runs/tuesday/refit/result.json").read_text())
    assert refit["refit"]["epochs"] == results[1]["best_epoch"]
    assert len(re.findall(r"^ *[1-5] +\S+ +v0\d\d  \S", said, re.MULTILINE)) == 5

    take(anew)
    assert open_dataset(tmp_path / "dataset").counts == {
        "users": 85,
        "items": 55,
        "interactions": 510,
    }


DAYS = ("monday", "tuesday")


def forwarded(store):
    """Return how many items the last extraction into a store sent through the backbone."""
    return json.loads((store / "report.json").read_text())["items"]["forwarded"]
