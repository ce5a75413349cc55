"""docs/howto/choose-a-checkpoint.md: its commands run."""

import re
import shlex

from typer.testing import CliRunner

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.cli import app
from crossan.extract.backbones.presets import default_preset
from support.distributions import HOWTO

PAGE = (HOWTO / "choose-a-checkpoint.md").read_text()


def test_the_commands_of_the_howto_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 5
    for line in lines:
        program, group, *arguments = shlex.split(line)
        assert (program, group) == ("crossan", "backbones")
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        if "--max-length" in arguments and "info" in arguments:
            assert "max length  30 tokens" in done.stdout


def test_the_command_that_downloads_names_the_pinned_commit():
    preset = default_preset(Modality.TEXT)
    assert f"hf download {preset.hub_id} --revision {preset.revision}" in PAGE
