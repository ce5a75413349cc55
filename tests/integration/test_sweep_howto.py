"""docs/howto/sweep.md: its commands have the options they are given, its file is one that a sweep reads."""

import re
import shlex
from pathlib import Path

import typer
from typer.testing import CliRunner

from crossan.common.config import load_settings
from crossan.train.sweep.cli import sweep
from crossan.train.sweep.settings import SweepSettings

PAGE = (Path(__file__).parents[2] / "docs/howto/sweep.md").read_text()


def test_every_option_of_a_sweep_on_the_page_exists():
    app = typer.Typer()
    app.command()(sweep)
    known = set(re.findall(r"--[a-z-]+", CliRunner().invoke(app, ["--help"]).output))
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)).replace("\\\n", " ")
    commands = [
        shlex.split(line) for line in blocks.splitlines() if line.startswith("crossan sweep ")
    ]
    assert len(commands) == 2
    assert {word for words in commands for word in words if word.startswith("--")} <= known
    assert {"--jobs", "--no-test", "--sampler", "--sweep"} <= known & set(
        re.findall(r"--[a-z-]+", PAGE)
    )


def test_the_file_on_the_page_is_a_sweep(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "plan.toml").write_text(text)
    read = load_settings(SweepSettings, files=[tmp_path / "plan.toml"], environment={})
    assert read.grid == {"model.dropout": (0.1, 0.3)}
    assert read.range == {"model.bottleneck_dim": "8:64:log", "optimiser.lr": "1e-4:1e-2:log"}
