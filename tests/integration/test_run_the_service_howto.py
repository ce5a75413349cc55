"""docs/howto/run-the-service.md works as written: from nothing to a retrained model that answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.started import PROGRAMS, ended_with_test, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "run-the-service.md"
SERVE = "crossan serve --data service --port 0 > serve.log 2>&1 &\n"


@pytest.fixture
def shell(tmp_path):
    """Return a function that runs a block in a folder of its own, and returns what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CROSSAN_")}
    path = f"{PROGRAMS}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    environment = {**clean, "PATH": path, "OMP_NUM_THREADS": "1"}

    def run(block):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.environment = environment
    return run


def section(title):
    text = PAGE.read_text(encoding="utf-8")
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.exhaustive
def test_the_page_works_as_written(tmp_path, shell, tiny_backbones):
    blocks = re.findall(r"```sh\n(.*?)```", section("On a laptop, in ten minutes"), re.DOTALL)
    data, settings, serve, first, triggers, inbox, listing, asking = blocks
    (tmp_path / "backbones").symlink_to(tiny_backbones)
    shell(data.replace("crossan backbones init-tiny backbones\n", ""))
    shell(settings)
    assert serve == SERVE
    with (tmp_path / "serve.log").open("w") as log:
        server = ended_with_test(
            subprocess.Popen(
                ["crossan", "serve", "--data", "service", "--port", "0"],
                cwd=tmp_path, env=shell.environment, stdout=log, stderr=log,
            )
        )  # fmt: skip
    wait_until((tmp_path / "service/address.json").is_file, "the server answers", server)

    def ended(number):
        page = json.loads(shell("crossan nights ls --data service --json"))
        return next((one for one in page["nights"] if one["id"] == number and one["ended"]), None)

    shell(first)
    wait_until(lambda: ended(1), "the first night ends", server, pause=0.5)
    assert ended(1)["state"] == "promoted", ended(1)
    shell(triggers)
    shell(inbox)
    wait_until(lambda: ended(2), "the second night ends", server, pause=0.5)
    assert ended(2)["state"] == "promoted", ended(2)
    assert "10 new items, 500 interactions" in ended(2)["summary"]
    said = shell(listing)
    assert "grown" in said
    assert "promoted model 2" in said

    def answers():
        try:
            return shell(asking)
        except AssertionError:
            return ""

    wait_until(answers, "the model answers", server, pause=0.5)
    assert len(re.findall(r"^v0\d\d .* song", answers(), re.MULTILINE)) == 5
